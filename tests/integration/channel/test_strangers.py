"""Who may not, gets nothing from the side channel of a cluster: no byte of a file, no stream, no answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit import x509
from megatools.hostkit.errors import MegaError, PermissionDenied, Unavailable
from megatools.minimega.mesh.credentials import Credentials
from megatools.minimega.mesh.exchange import Ask, Want
from megatools.minimega.mesh.identity import Identity, common_name
from megatools.minimega.mesh.issuing import Authority
from megatools.minimega.mesh.mesh import Caller, Stream
from megatools.minimega.mesh.tls import unverified_context
from tests.integration.channel.sides import Side, Sides, sides, until_closed

_SECRET = b"the content of a file"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Sides]:
    async with sides(tmp_path) as found:
        yield found


@pytest.fixture
def server(nodes: Sides) -> Side:
    side = nodes.side("kn0")
    side.put("image", _SECRET)
    side.channel.accept("echo", _echo)
    return side


async def _echo(_caller: Caller, _request: bytes, stream: Stream) -> None:
    stream.writer.write(_SECRET)
    await stream.reader.read()


def ask(caller: str, want: Want = Want.PULL, name: str = "image") -> bytes:
    """A request as it goes over the wire."""
    data = msgspec.msgpack.encode(Ask(caller, want, name, 0, 100))
    return len(data).to_bytes(4, "big") + data


async def said_to(server: Side, context: ssl.SSLContext | None, data: bytes) -> bytes:
    """What a server says to who connects in this way and sends this; a refused handshake says nothing."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        writer.write(data)
        return await until_closed(reader)
    finally:
        writer.close()


def context_of(credentials: Credentials, tmp_path: Path) -> ssl.SSLContext:
    """A client that shows a certificate and believes any."""
    context = unverified_context()
    path = tmp_path / "stranger.pem"
    path.write_bytes(credentials.key.pem + credentials.certificate.pem)
    context.load_cert_chain(path)
    return context


def odd_credentials(authority: Authority, name: str, start_days: float, end_days: float) -> Credentials:
    """A certificate of the cluster with odd dates, counted in days from now."""
    now = authority._store.clock.now()  # pyright: ignore[reportPrivateUsage]
    validity = x509.Validity(now + timedelta(days=start_days), now + timedelta(days=end_days))
    key, serial = x509.Key.make(), x509.random_serial()
    names = x509.Names(common_name(name, f"{serial:x}"), (), (), (Identity(authority.cluster, name).uri,))
    signer = authority._key  # pyright: ignore[reportPrivateUsage]
    certificate = x509.issue(authority.certificate, signer, key.request(), names, validity, serial)
    return Credentials(key, certificate, authority.certificate)


async def test_who_belongs_gets_it(server: Side, nodes: Sides, tmp_path: Path) -> None:
    """The checks below would pass for a server that answers nobody."""
    member = context_of(nodes.authority.credentials("kn1"), tmp_path)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=member)
    for want, name in ((Want.PULL, "image"), (Want.STREAM, "echo")):
        writer.write(ask("kn1", want, name))
        async with asyncio.timeout(20):
            await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
            assert await reader.readexactly(len(_SECRET)) == _SECRET
    writer.close()


@pytest.mark.parametrize("want", list(Want))
@pytest.mark.parametrize("who", ["plain", "garbage", "no certificate", "foreign", "authority's own", "revoked", "liar"])
async def test_who_does_not_belong_gets_nothing(
    server: Side, nodes: Sides, tmp_path: Path, who: str, want: Want
) -> None:
    name = "image" if want is Want.PULL else "echo"
    data, context = ask("kn1", want, name), None
    if who == "garbage":
        data = b"\x16\x03\x01" + bytes(500)
    elif who == "no certificate":
        context = unverified_context()
    elif who == "foreign":
        context = context_of(nodes.cluster("other").credentials("kn1"), tmp_path)
    elif who == "authority's own":
        made = nodes.authority.credentials("kn1")
        forged = x509.make_authority(made.key, "cluster", nodes.authority.certificate.validity)
        context = context_of(Credentials(made.key, forged, forged), tmp_path)
    elif who == "revoked":
        context = context_of(nodes.authority.credentials("kn1"), tmp_path)
        entry = nodes.authority.member("kn1")
        assert entry is not None and server.store is not None
        server.store.revoke([entry.revocation(server.store.clock.now())])
    elif who == "liar":
        context = context_of(nodes.authority.credentials("kn2"), tmp_path)
    assert await said_to(server, context, data) in (b"", *ALERTS)
    assert server.asked == []


# A TLS alert, in the clear because the handshake never began: protocol version, unexpected message, or decode error.
ALERTS = tuple(
    b"\x15\x03" + minor + b"\x00\x02\x02" + what for minor in (b"\x01", b"\x03") for what in (b"F", b"\n", b"2")
)


@pytest.mark.parametrize(
    ("start_days", "end_days", "taken"), [(-2, -1, False), (1, 2, False), (-30, 2, True), (-5000, 5000, True)]
)
async def test_dates_count(
    server: Side, nodes: Sides, tmp_path: Path, start_days: float, end_days: float, taken: bool
) -> None:
    odd = nodes.side_with("kn1", odd_credentials(nodes.authority, "kn1", start_days, end_days))
    if taken:
        assert await odd.pull(server, "image", 0, 100, tmp_path / "got") == len(_SECRET)
        return
    with pytest.raises(PermissionDenied, match='node "kn0" does not take this node\'s certificate'):
        await odd.pull(server, "image", 0, 100, tmp_path / "got")
    assert server.asked == []
    odd.put("image", b"x")
    with pytest.raises(PermissionDenied, match='certificate of node "kn1" is not one of this cluster, or not valid'):
        await server.pull(odd, "image", 0, 100, tmp_path / "got")


async def test_a_node_does_not_believe_who_answers_for_another(nodes: Sides, tmp_path: Path) -> None:
    one, two = nodes.side("kn1"), nodes.side("kn2")
    two.name = "kn3"
    with pytest.raises(PermissionDenied, match='there is node "kn2", not "kn3"'):
        await one.pull(two, "image", 0, 100, tmp_path / "got")
    foreign = nodes.side("kn4", authority=nodes.cluster("other"))
    with pytest.raises(PermissionDenied, match="not one of this cluster"):
        await one.channel.open(foreign.member, "echo", b"")
    assert two.asked == foreign.asked == []


async def test_a_plain_server_gets_no_request(nodes: Sides, tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1 << 16))
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        writer.close()

    one, two = nodes.side("kn1"), nodes.side("kn2")
    two.port += 1000
    async with await asyncio.start_server(listen, "127.0.0.1", two.port):
        with pytest.raises(PermissionDenied):
            await one.pull(two, "image", 0, 100, tmp_path / "got")
    assert heard and b"image" not in heard[0] and b"kn" not in heard[0]


async def test_revoking_ends_what_is_open_in_both_directions(server: Side, nodes: Sides, tmp_path: Path) -> None:
    theirs = nodes.side("kn1")
    theirs.channel.accept("echo", _echo)
    assert await theirs.pull(server, "image", 0, 100, tmp_path / "got") == len(_SECRET)
    inward = await theirs.channel.open(server.member, "echo", b"")
    outward = await server.channel.open(theirs.member, "echo", b"")
    entry = nodes.authority.member("kn1")
    assert entry is not None and server.store is not None
    server.store.listen(server.channel.check)
    server.store.revoke([entry.revocation(server.store.clock.now())])
    for stream in (inward, outward):
        assert await until_closed(stream.reader) in (b"", _SECRET)
        stream.writer.close()
    with pytest.raises(MegaError) as raised:
        await theirs.pull(server, "image", 0, 100, tmp_path / "got")
    assert isinstance(raised.value, PermissionDenied | Unavailable)
    with pytest.raises(PermissionDenied, match='certificate of node "kn1" was revoked'):
        await server.channel.open(theirs.member, "echo", b"")
    assert len(server.asked) == 1


async def test_many_silent_strangers_do_not_keep_members_out(server: Side, nodes: Sides, tmp_path: Path) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
    assert await nodes.side("kn1").pull(server, "image", 0, 100, tmp_path / "got") == len(_SECRET)
    for _, writer in silent:
        writer.close()
