"""A command socket with the real language behind it and a small test family, in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from megatools.hostkit.errors import NotFound
from megatools.minimega.lang.answer import Group, Response, Table
from megatools.minimega.lang.builtins import builtins
from megatools.minimega.lang.call import ActiveNamespace, Call
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.registry import Family, Registry
from megatools.minimega.lang.server import Server, serve


@dataclass
class World:
    """What the test family can touch."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)


family: Family[World] = Family("test", "Test")


@family.command("say <word>")
async def say(_call: Call[World], word: str) -> str:
    """say a word"""
    await asyncio.sleep(0)
    return word


@family.command("many <count>")
async def many(call: Call[World], count: str) -> AsyncIterator[Group]:
    """answer with many groups"""
    for number in range(int(count)):
        yield [Response(call.host, str(number))]


@family.command("big <bytes>")
async def big(_call: Call[World], bytes: str) -> str:
    """answer with a long text"""
    return "x" * int(bytes)


@family.command("lines <count>")
async def lines(_call: Call[World], count: str) -> str:
    """answer with many lines"""
    return "\n".join(f"line {number}" for number in range(int(count)))


@family.command("warn <text>")
async def warn(_call: Call[World], text: str) -> None:
    """log a warning a little later"""
    asyncio.get_running_loop().call_later(1.0, logging.getLogger("megatools.test").warning, "%s", text)


@family.command("wait <name>")
async def wait(call: Call[World], name: str) -> AsyncIterator[Group]:
    """answer, wait until told, note the end"""
    yield [Response(call.host, "begun")]
    call.services.begun.set()
    await call.services.go_on.wait()
    call.services.ended.append(name)
    yield [Response(call.host, "ended")]


@family.command("progress <text>")
async def progress(call: Call[World], text: str) -> str:
    """tell progress, then answer"""
    call.status(text)
    await asyncio.sleep(0)
    return "done"


@family.command("table")
async def table(_call: Call[World]) -> Table:
    """answer with a table"""
    return Table(("name", "size"), (("a", "1"), ("b", "2")))


@family.command("fail <word>")
async def fail(_call: Call[World], word: str) -> None:
    """fail"""
    raise NotFound(f'no "{word}"', hint="try another")


@family.command("here")
async def here(call: Call[World]) -> str:
    """say the namespace"""
    return call.namespace


class Daemon:
    """Use with `with`: `path` is the socket, `call` runs a coroutine in the daemon's loop."""

    def __init__(self, path: Path, *, stall_s: float = 30.0) -> None:
        self.path = path
        self.stall_s = stall_s
        self.server: Server
        self.world: World
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.world = World()
        self.registry: Registry[World] = Registry([builtins(), family])
        interpreter = Interpreter(self.registry, self.world, host="kn1")
        self.server = await serve(self.path, interpreter, namespace=ActiveNamespace("lab"), stall_s=self.stall_s)
        self._ready.set()
        await self._stop.wait()
        await self.server.close(grace_s=0.2)

    def __enter__(self) -> Daemon:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def stop(self) -> None:
        """Close the server and end the loop."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def call(self, work: Coroutine[object, object, object], timeout_s: float = 20) -> object:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def until(self, happened: Callable[[], bool]) -> None:
        """Wait in the daemon's loop until something is so."""

        async def look() -> None:
            async with asyncio.timeout(20):
                while not happened():
                    await asyncio.sleep(0.005)

        self.call(look(), 30)

    def wake(self, event: asyncio.Event) -> None:
        self.loop.call_soon_threadsafe(event.set)


class Client:
    """A plain JSON client."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.socket.close()

    def send(self, **request: object) -> None:
        self.socket.sendall(json.dumps(request).encode())

    def reply(self) -> dict:
        line = self.lines.readline()
        if not line:
            raise EOFError
        return json.loads(line)

    def ask(self, command: str) -> list[dict]:
        self.send(Command=command)
        replies = [self.reply()]
        while replies[-1]["More"] or replies[-1]["Status"]:
            replies.append(self.reply())
        return replies

    def text(self, command: str) -> str:
        return "\n".join(reply["Rendered"] for reply in self.ask(command))
