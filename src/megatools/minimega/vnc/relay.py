"""Carry a console's bytes between a viewer and a VM's VNC socket, near or far; the web ring calls it.

Nothing is parsed and nothing is kept: each direction holds at most one chunk and waits while the other side is slow::

    viewer --receive--> writer (drained) --> UNIX socket of the VM, or a stream to the host that has it
    viewer <--send----- reader (64 KiB)  <--
"""

from __future__ import annotations

import asyncio
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import Unavailable

_CHUNK_BYTES = 65536

Console: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
"""A connection to a VM's console."""


class ViewerLeft(Unavailable):
    """The viewer ended the conversation while something was being sent to it."""


class Viewer(Protocol):
    """The side that looks: a websocket, as the relay sees it."""

    async def receive(self) -> bytes | None:
        """The next bytes from the viewer; None when it left."""
        ...

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting while the viewer is slow; raises ViewerLeft when it is gone."""
        ...


class End(Enum):
    """Who ended the conversation."""

    VIEWER = "the viewer left"
    CONSOLE = "the VM closed its console"


async def connect(socket: Path, *, timeout_s: float = 5.0) -> Console:
    """Connect to a VM's VNC socket on this host. Raises Unavailable when no console answers."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.open_unix_connection(str(socket), limit=_CHUNK_BYTES)
    except (OSError, TimeoutError) as error:
        raise Unavailable("the VM's console does not answer") from error


async def relay(viewer: Viewer, console: Console) -> End:
    """Carry bytes both ways until one side ends; the console is closed then."""
    reader, writer = console
    try:
        async with asyncio.TaskGroup() as group:
            directions = {group.create_task(_to_guest(viewer, writer)), group.create_task(_to_viewer(reader, viewer))}
            done, rest = await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for task in rest:
                task.cancel()
        return next(iter(done)).result()
    finally:
        writer.transport.abort()


async def _to_guest(viewer: Viewer, writer: asyncio.StreamWriter) -> End:
    try:
        while (data := await viewer.receive()) is not None:
            writer.write(data)
            await writer.drain()
    except OSError:
        return End.CONSOLE
    return End.VIEWER


async def _to_viewer(reader: asyncio.StreamReader, viewer: Viewer) -> End:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            await viewer.send(data)
    except OSError:
        return End.CONSOLE
    except ViewerLeft:
        return End.VIEWER
    return End.CONSOLE
