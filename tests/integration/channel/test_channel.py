"""The side channel does what it should, with certificates and without: pulls, streams, errors, ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from megatools.minimega.mesh import asking
from megatools.minimega.mesh.connection import Connection
from megatools.minimega.mesh.exchange import Answer, Ask
from megatools.minimega.mesh.mesh import Caller, Member, Role, Stream
from tests.integration.channel.sides import Side, Sides, sides, until_closed

_MIB = 1 << 20


@pytest.fixture(params=["tls", "open"])
async def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sides]:
    async with sides(tmp_path, open_mesh=request.param == "open") as found:
        yield found


@pytest.fixture
def pair(nodes: Sides) -> tuple[Side, Side]:
    return nodes.side("kn1", role=Role.READ_ONLY, space="red"), nodes.side("kn2")


def caller_of(pair: tuple[Side, Side]) -> Caller:
    return Caller("kn1", Role.READ_ONLY, "red") if pair[0].store else Caller("kn1")


@pytest.mark.parametrize(
    ("size", "offset", "length"),
    [
        (0, 0, 100),
        (10, 0, 10),
        (10, 3, 4),
        (10, 8, 100),
        (10, 20, 5),
        (10, 0, 0),
        (5 * _MIB + 7, 0, 1 << 40),
        (5 * _MIB + 7, _MIB - 1, 3 * _MIB),
        (65536, 0, 65536),
        (65537, 0, 65537),
    ],
)
async def test_a_part_of_a_file_comes_to_its_place(
    pair: tuple[Side, Side], tmp_path: Path, size: int, offset: int, length: int
) -> None:
    one, two = pair
    content = os.urandom(size)
    two.put("image", content)
    part = content[offset : offset + length]
    assert await one.pull(two, "image", offset, length, tmp_path / "got") == len(part)
    got = (tmp_path / "got").read_bytes()
    assert got == (b"\0" * offset + part if part else b"")
    assert two.asked == [(caller_of(pair), "image")]


async def test_many_pulls_at_once_and_one_after_another(pair: tuple[Side, Side], tmp_path: Path) -> None:
    one, two = pair
    content = os.urandom(8 * _MIB)
    two.put("image", content)
    one.put("image", content[::-1])
    (tmp_path / "got").touch()
    (tmp_path / "back").touch()

    async def chunk(number: int) -> None:
        await one.pull(two, "image", number * 100_000, 100_000, tmp_path / "got")
        await two.pull(one, "image", number * 100_000, 100_000, tmp_path / "back")

    async with asyncio.timeout(60):
        await asyncio.gather(*(chunk(number) for number in range(84)))
    assert (tmp_path / "got").read_bytes() == content
    assert (tmp_path / "back").read_bytes() == content[::-1]


async def test_what_is_not_there_is_named_and_the_next_pull_works(pair: tuple[Side, Side], tmp_path: Path) -> None:
    one, two = pair
    (two.files / "folder").mkdir()
    os.mkfifo(two.files / "pipe")
    for name in ("missing", "folder", "pipe", "nothing"):
        with pytest.raises(NotFound, match=name):
            await one.pull(two, name, 0, 10, tmp_path / "got")
    with pytest.raises(InvalidInput, match="no such part"):
        await one.pull(two, "image", -1, 10, tmp_path / "got")
    two.put("image", b"content")
    assert await one.pull(two, "image", 0, 10, tmp_path / "got") == 7


async def test_a_node_that_shares_nothing_says_so(nodes: Sides, tmp_path: Path) -> None:
    one, two = nodes.side("kn1"), nodes.side("kn2")
    two.channel._serving.opener = None  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(NotFound, match="shares nothing"):
        await one.pull(two, "image", 0, 10, tmp_path / "got")


async def test_nobody_listening_is_unavailable(nodes: Sides, tmp_path: Path) -> None:
    one, two = nodes.side("kn1"), nodes.side("kn2")
    two.put("image", b"content")
    assert await one.pull(two, "image", 0, 10, tmp_path / "got") == 7
    await two.channel.close()  # the kept connection is gone too
    with pytest.raises(Unavailable, match='node "kn2" cannot be reached at'):
        await one.pull(two, "image", 0, 10, tmp_path / "got")


async def test_a_kept_connection_that_broke_is_replaced(pair: tuple[Side, Side], tmp_path: Path) -> None:
    one, two = pair
    two.put("image", b"content")
    assert await one.pull(two, "image", 0, 10, tmp_path / "got") == 7
    for connection in list(two.channel._serving._connections.values()):  # pyright: ignore[reportPrivateUsage]
        connection.cut()
    assert await one.pull(two, "image", 0, 10, tmp_path / "got") == 7


async def test_the_port_can_move(pair: tuple[Side, Side], tmp_path: Path) -> None:
    one, two = pair
    two.put("image", b"content")
    await one.pull(two, "image", 0, 10, tmp_path / "got")
    two.port += 1
    two.channel.listen("127.0.0.1", two.port)
    assert await one.pull(two, "image", 0, 10, tmp_path / "got") == 7
    with pytest.raises(Unavailable, match=f'cannot listen on "127.0.0.1" port "{two.port}"'):
        one.channel.listen("127.0.0.1", two.port)


async def test_a_file_that_is_cut_short_while_it_is_sent_is_an_error(
    pair: tuple[Side, Side], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    path = two.put("image", bytes(4 * _MIB))
    found = two.channel._serving._found  # pyright: ignore[reportPrivateUsage]

    def cut_short(caller: Caller, ask: Ask) -> tuple[int, int]:
        descriptor, length = found(caller, ask)
        os.truncate(path, _MIB)
        return descriptor, length

    monkeypatch.setattr(two.channel._serving, "_found", cut_short)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Unavailable, match='node "kn2" was lost while it sent "image"'):
        await one.pull(two, "image", 0, 4 * _MIB, tmp_path / "got")


async def test_a_full_disk_is_not_the_other_nodes_fault(pair: tuple[Side, Side]) -> None:
    one, two = pair
    two.put("image", bytes(2 * _MIB))
    with pytest.raises(Unavailable, match="cannot write the file"):
        await one.pull(two, "image", 0, 2 * _MIB, Path("/dev/full"))


async def test_a_node_that_stalls_is_lost_in_time(
    nodes: Sides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_STALL_S", 0.2)
    one, two = nodes.side("kn1"), nodes.side("kn2")
    two.put("image", bytes(4 * _MIB))

    async def stall(connection: Connection, _descriptor: int, _offset: int, length: int) -> None:
        await connection.write_frame(Answer(length))
        await connection.write(bytes(_MIB))
        await asyncio.Event().wait()

    monkeypatch.setattr(two.channel._serving, "_send", stall)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Unavailable, match='node "kn2" was lost while it sent "image"'):
        await one.pull(two, "image", 0, 4 * _MIB, tmp_path / "got")


async def test_a_cancelled_pull_is_done_with_the_file(nodes: Sides, tmp_path: Path, monkeypatch) -> None:
    one, two = nodes.side("kn1"), nodes.side("kn2")
    two.put("image", bytes(4 * _MIB))
    begun = asyncio.Event()

    async def stall(connection: Connection, _descriptor: int, _offset: int, length: int) -> None:
        await connection.write_frame(Answer(length))
        begun.set()
        await connection.write(bytes(_MIB))
        await asyncio.Event().wait()

    monkeypatch.setattr(two.channel._serving, "_send", stall)  # pyright: ignore[reportPrivateUsage]
    task = asyncio.create_task(one.pull(two, "image", 0, 4 * _MIB, tmp_path / "got"))
    await begun.wait()
    async with asyncio.timeout(5):
        while not (tmp_path / "got").stat().st_size:  # the thread writes
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert one.channel._asking._members == {}  # pyright: ignore[reportPrivateUsage]


# streams


async def _echo(caller: Caller, request: bytes, stream: Stream) -> None:
    stream.writer.write(caller.name.encode() + b":" + request + b"\n")
    while data := await stream.reader.read(1 << 16):
        stream.writer.write(data)
        await stream.writer.drain()


async def test_a_stream_goes_both_ways(pair: tuple[Side, Side]) -> None:
    one, two = pair
    two.channel.accept("echo", _echo)
    stream = await one.channel.open(two.member, "echo", b"hello")
    assert await stream.reader.readline() == b"kn1:hello\n"
    content = os.urandom(3 * _MIB)

    async def send() -> None:
        stream.writer.write(content)
        await stream.writer.drain()

    sending = asyncio.create_task(send())
    assert await stream.reader.readexactly(len(content)) == content
    await sending
    stream.writer.close()


async def test_what_was_written_before_the_end_arrives(pair: tuple[Side, Side]) -> None:
    one, two = pair
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def give(_caller: Caller, request: bytes, stream: Stream) -> None:
        stream.writer.write(bytes(int(request)))

    async def take(_caller: Caller, _request: bytes, stream: Stream) -> None:
        received.set_result(await until_closed(stream.reader))

    two.channel.accept("give", give)
    two.channel.accept("take", take)
    for size in (0, 1, 2 * _MIB):
        stream = await one.channel.open(two.member, "give", str(size).encode())
        assert await until_closed(stream.reader) == bytes(size)
        stream.writer.close()
    stream = await one.channel.open(two.member, "take", b"")
    stream.writer.write(bytes(2 * _MIB))
    stream.writer.close()
    async with asyncio.timeout(20):
        assert await received == bytes(2 * _MIB)


async def test_an_acceptor_refuses_before_its_first_byte(pair: tuple[Side, Side]) -> None:
    one, two = pair

    async def refuse(caller: Caller, _request: bytes, stream: Stream) -> None:
        raise PermissionDenied(f'"{caller.name}" may not', hint="ask nicely")

    async def break_down(_caller: Caller, _request: bytes, stream: Stream) -> None:
        raise RuntimeError("a bug")

    two.channel.accept("refuse", refuse)
    two.channel.accept("bug", break_down)
    with pytest.raises(PermissionDenied, match='"kn1" may not') as raised:
        await one.channel.open(two.member, "refuse", b"")
    assert raised.value.hint == "ask nicely"
    with pytest.raises(Unavailable, match="internal error"):
        await one.channel.open(two.member, "bug", b"")
    with pytest.raises(NotFound, match='no service "other"'):
        await one.channel.open(two.member, "other", b"")


async def test_an_acceptor_that_listens_first_gets_its_stream(pair: tuple[Side, Side]) -> None:
    one, two = pair

    async def listen(_caller: Caller, _request: bytes, stream: Stream) -> None:
        stream.writer.write((await stream.reader.readline()).upper())

    two.channel.accept("listen", listen)
    stream = await one.channel.open(two.member, "listen", b"")
    stream.writer.write(b"quiet\n")
    assert await until_closed(stream.reader) == b"QUIET\n"
    stream.writer.close()


async def test_a_lost_node_ends_its_streams(pair: tuple[Side, Side]) -> None:
    one, two = pair
    two.channel.accept("echo", _echo)
    stream = await one.channel.open(two.member, "echo", b"")
    await stream.reader.readline()
    one.channel.lost(Member("kn2", "another start"))
    stream.writer.write(b"still there\n")
    assert await stream.reader.readline() == b"still there\n"
    one.channel.lost(two.member)
    assert await until_closed(stream.reader) == b""
    stream.writer.close()
