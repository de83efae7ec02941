"""Bytes between a viewer and a console: both ways, with back-pressure, ended by either side."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from megatools.hostkit.errors import Unavailable
from megatools.minimega.vnc.relay import End, ViewerLeft, connect, relay

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class QueueViewer:
    """A viewer that says what it is told to, and takes one message at a time when `slow`."""

    def __init__(self) -> None:
        self.says: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.got = bytearray()
        self.may_take = asyncio.Event()
        self.may_take.set()
        self.gone = False

    async def receive(self) -> bytes | None:
        return await self.says.get()

    async def send(self, data: bytes) -> None:
        await self.may_take.wait()
        if self.gone:
            raise ViewerLeft("the viewer left")
        self.got += data


async def with_console(path: Path, serve: Serve, viewer: QueueViewer) -> End:
    served = asyncio.Event()

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.transport.close()
            served.set()

    async with await asyncio.start_unix_server(serving, str(path)), asyncio.timeout(10):
        end = await relay(viewer, await connect(path))
        await served.wait()
        return end


async def test_both_ways_until_the_console_ends(tmp_path: Path) -> None:
    async def echo_backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readexactly(5))[::-1])
        await writer.drain()

    viewer = QueueViewer()
    viewer.says.put_nowait(b"he")
    viewer.says.put_nowait(b"llo")
    assert await with_console(tmp_path / "vnc", echo_backwards, viewer) is End.CONSOLE
    assert bytes(viewer.got) == b"olleh"


async def test_the_viewer_leaves(tmp_path: Path) -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""  # the end, and this test ends only when it comes

    viewer = QueueViewer()
    viewer.says.put_nowait(None)
    assert await with_console(tmp_path / "vnc", wait, viewer) is End.VIEWER


async def test_a_viewer_that_vanishes_while_it_is_sent_to(tmp_path: Path) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 100)
        with contextlib.suppress(ConnectionResetError):
            await reader.read()

    viewer = QueueViewer()
    viewer.gone = True
    assert await with_console(tmp_path / "vnc", flood, viewer) is End.VIEWER


async def test_a_slow_viewer_holds_the_console_back(tmp_path: Path) -> None:
    sent = 0
    total = 8 << 20

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    viewer = QueueViewer()
    viewer.may_take.clear()

    async def watch() -> int:
        seen = -1
        while seen != sent or sent == 0:  # until the flood stands still
            seen = sent
            for _ in range(500):  # turns of the loop: every byte that can move, moves
                await asyncio.sleep(0)
        held = sent
        viewer.may_take.set()
        return held

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch())
        end = await with_console(tmp_path / "vnc", flood, viewer)
    assert watching.result() < total // 2
    assert (end, len(viewer.got)) == (End.CONSOLE, total)


async def test_no_console(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await connect(tmp_path / "absent")
