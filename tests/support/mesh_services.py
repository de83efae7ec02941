"""The services that tests of a mesh call, of both twins; the name of a function is the name of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from megatools.hostkit.errors import InvalidState
from megatools.minimega.mesh.mesh import Caller, Mesh

done: list[str] = []
"""What happened to `hang` here."""


def serve_all(mesh: Mesh) -> None:
    """Offer them."""
    for handler in (echo, refuse, hang, lines, count, bulk, fail):
        mesh.serve(handler.__name__, handler)


async def echo(caller: Caller, request: bytes) -> AsyncIterator[bytes]:
    """Who asks, and what."""
    yield caller.name.encode()
    yield request


async def refuse(_: Caller, __: bytes) -> AsyncIterator[bytes]:
    """An error with a hint."""
    raise InvalidState("not now", hint="later")
    yield b""


async def fail(_: Caller, __: bytes) -> AsyncIterator[bytes]:
    """A bug."""
    raise ZeroDivisionError
    yield b""


async def hang(_: Caller, __: bytes) -> AsyncIterator[bytes]:
    """One part, then nothing for ever."""
    done.append("begun")
    try:
        yield b"first"
        await asyncio.Event().wait()
    finally:
        done.append("ended")


async def lines(_: Caller, request: bytes) -> AsyncIterator[bytes]:
    """So many lines."""
    for number in range(int(request)):
        yield f"line {number}".encode()


async def count(_: Caller, request: bytes) -> AsyncIterator[bytes]:
    """So many numbers, one in each turn of the event loop."""
    for number in range(int(request)):
        yield str(number).encode()
        await asyncio.sleep(0)


async def bulk(_: Caller, request: bytes) -> AsyncIterator[bytes]:
    """So many MiB, one part each."""
    for _number in range(int(request)):
        yield bytes(1 << 20)
