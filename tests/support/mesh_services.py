"""The services that tests of a mesh call, of both twins; the name of a method is the name of the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from megatools.hostkit.errors import InvalidState
from megatools.minimega.mesh.mesh import Caller, Mesh


class Services:
    """What one node serves; `done` is what happened to `hang` and `note` there."""

    def __init__(self, mesh: Mesh) -> None:
        self.done: list[str] = []
        self._name = mesh.name
        handlers = (self.echo, self.refuse, self.fail, self.hang, self.sleep, self.note)
        for handler in (*handlers, self.lines, self.count, self.count_slowly, self.bulk):
            mesh.serve(handler.__name__, handler)

    async def echo(self, caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """Who asks, and what."""
        yield caller.name.encode()
        yield request

    async def refuse(self, _: Caller, __: bytes) -> AsyncGenerator[bytes, None]:
        """An error with a hint."""
        raise InvalidState("not now", hint="later")
        yield b""

    async def fail(self, _: Caller, __: bytes) -> AsyncGenerator[bytes, None]:
        """A bug."""
        raise ZeroDivisionError
        yield b""

    async def hang(self, _: Caller, __: bytes) -> AsyncGenerator[bytes, None]:
        """One part, then nothing for ever."""
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            self.done.append("ended")

    async def sleep(self, _: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """Nothing for ever at the node named, an answer at others."""
        if self._name == request.decode():
            await asyncio.Event().wait()
        yield b"awake"

    async def note(self, _: Caller, __: bytes) -> AsyncGenerator[bytes, None]:
        """Leaves a note."""
        self.done.append("noted")
        yield b""

    async def lines(self, _: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """So many lines."""
        for number in range(int(request)):
            yield f"line {number}".encode()

    async def count(self, _: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """So many numbers, one in each turn of the event loop."""
        for number in range(int(request)):
            yield str(number).encode()
            await asyncio.sleep(0)

    async def count_slowly(self, _: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """So many numbers, with milliseconds in between for something to happen: `8 100`."""
        amount, pause_ms = map(int, request.split())
        for number in range(amount):
            yield str(number).encode()
            await asyncio.sleep(pause_ms / 1000)

    async def bulk(self, _: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """So many MiB, one part each."""
        for _number in range(int(request)):
            yield bytes(1 << 20)
