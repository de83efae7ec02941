"""The daemon's end of an engine process: start it, talk to it, notice its end.

The first engine of a daemon is started before most of the daemon is loaded (`prepare`): both load at the same time, and
the mesh is up about when the daemon's socket answers.

Used by `mesh.engine_keeper`. What the process writes on its standard error goes to the log, line by line.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from typing import NamedTuple

from megatools.hostkit import proc
from megatools.hostkit.errors import MegaError, Unavailable
from megatools.minimega.mesh import frames

_log = logging.getLogger(__name__)
_MODULE = "megatools.minimega.mesh.engine"
_START_S = 30.0
_END_S = 2.0
_BUFFER = 1 << 22
_LINES = 20
_GONE = "the mesh engine is gone"

Hear = Callable[[frames.FromEngine], None]


class Started(NamedTuple):
    """An engine process that waits for its first frame, and our ends: its socket, and what it writes."""

    child: proc.Child
    channel: socket.socket
    output: int

    async def discard(self) -> None:
        """End it; it was not needed."""
        self.channel.close()
        os.close(self.output)
        if await self.child.wait(timeout_s=_END_S) is None:
            self.child.signal(signal.SIGKILL)
            await self.child.wait(timeout_s=_END_S)


def prepare() -> Started:
    """Start an engine process at once, before there is an event loop. Raises as `proc.spawn`."""
    with _ends() as (ours, output, theirs, write):
        child = proc.spawn(_argv(theirs), stdout=write, stderr=write, pass_fds=[theirs.fileno()])
    return Started(child, ours, output)


async def _prepare_aside() -> Started:
    """The same while the event loop goes on."""
    with _ends() as (ours, output, theirs, write):
        child = await proc.spawn_aside(_argv(theirs), output=write, pass_fds=[theirs.fileno()], then=lambda _: None)
    return Started(child, ours, output)


def _argv(theirs: socket.socket) -> list[str]:
    return [sys.executable, "-m", _MODULE, str(theirs.fileno())]


@contextlib.contextmanager
def _ends() -> Generator[tuple[socket.socket, int, socket.socket, int]]:
    """Our socket and the output to read, their socket and the output to write; theirs are closed at the end."""
    ours, theirs = socket.socketpair()
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        yield ours, read, theirs, write
    except BaseException:
        ours.close()
        os.close(read)
        raise
    finally:
        theirs.close()
        os.close(write)


class EngineProcess(asyncio.Protocol):
    """A running engine; `ended` is set when it is gone."""

    def __init__(self, hear: Hear, when_ended: Callable[[], None], prepared: Started | None = None) -> None:
        self._hear = hear
        self._when_ended = when_ended
        self._prepared = prepared
        self._cutter = frames.Cutter()
        self._transport: asyncio.Transport | None = None
        self._child: proc.Child | None = None
        self._output: _Output | None = None
        self._tickets = itertools.count(1)
        self._outcomes: dict[int, asyncio.Future[frames.Outcome]] = {}
        self._opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()

    async def start(self, first: frames.Open) -> None:
        """Start the process and wait until its session is open. Raises Unavailable with what it said, NotFound."""
        try:
            await self._spawn(first)
            async with asyncio.timeout(_START_S):
                await self._opened
        except TimeoutError as error:
            await self.end()
            raise Unavailable(f"the mesh engine did not start within {_START_S:g} s") from error
        except Unavailable:
            said = await self._output.rest() if self._output is not None else ""
            await self.end()
            raise Unavailable(f"the mesh engine did not start{f': {said}' if said else ''}") from None
        except BaseException:
            await self.end()
            raise

    @property
    def id(self) -> str:
        """The engine's random id."""
        return self._opened.result()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._child is not None
        return self._child.pid

    def send(self, frame: frames.ToEngine) -> None:
        """Tell the engine something; nothing happens when it is gone."""
        if self._transport is not None and not self.ended.is_set():
            self._transport.write(frames.encode(frame))

    async def outcome(self, make: Callable[[int], frames.ToEngine], *, timeout_s: float) -> frames.Outcome:
        """Tell it something that has an outcome, and wait for that."""
        ticket = next(self._tickets)
        future: asyncio.Future[frames.Outcome] = asyncio.get_running_loop().create_future()
        self._outcomes[ticket] = future
        try:
            if self.ended.is_set():
                return frames.Outcome(ticket, _GONE)
            self.send(make(ticket))
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return frames.Outcome(ticket, f"the mesh engine did not answer within {timeout_s:g} s")
        finally:
            del self._outcomes[ticket]

    async def end(self) -> None:
        """End the process and wait until it is gone."""
        if self._transport is not None:
            self._transport.close()
        if self._child is not None and await self._child.wait(timeout_s=_END_S) is None:
            self._child.signal(signal.SIGKILL)
            await self._child.wait(timeout_s=_END_S)
        if self._output is not None:
            self._output.close()
        self._gone()

    def kill(self) -> None:
        """Have the process gone; `ended` is set once it is."""
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    async def _spawn(self, first: frames.Open) -> None:
        loop = asyncio.get_running_loop()
        self._child, ours, read = self._prepared or await _prepare_aside()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        _, self._output = await loop.connect_read_pipe(_Output, os.fdopen(read, "rb", 0))
        await loop.create_unix_connection(lambda: self, sock=ours)
        self.send(first)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket pair is ours."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Frames, or parts of them."""
        try:
            for body in self._cutter.feed(data):
                self._take(frames.from_engine(body))
        except MegaError:
            _log.exception("the mesh engine talks nonsense; it is started again")
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """The process ended, or closed the socket."""
        self._gone()

    def _take(self, frame: frames.FromEngine) -> None:
        match frame:
            case frames.Opened(identity):
                if not self._opened.done():
                    self._opened.set_result(identity)
            case frames.Outcome(ticket):
                future = self._outcomes.get(ticket)
                if future is not None and not future.done():
                    future.set_result(frame)
            case _:
                pass
        self._hear(frame)

    def _gone(self) -> None:
        self.ended.set()
        for ticket, future in self._outcomes.items():
            if not future.done():
                future.set_result(frames.Outcome(ticket, _GONE))
        self._when_ended()
        if not self._opened.done():
            self._opened.set_exception(Unavailable("the mesh engine ended"))
            self._opened.exception()  # looked at, even if nobody waits


class _Output(asyncio.Protocol):
    """What an engine writes, for the log."""

    def __init__(self) -> None:
        self.last = ""
        self._rest = b""
        self._lines = 0
        self._ended = asyncio.Event()
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.last = line.decode(errors="replace").strip()
            self._lines += 1
            if self._lines <= _LINES:  # a broken engine repeats itself
                _log.warning("mesh engine: %s", self.last)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    async def rest(self) -> str:
        """The last line it wrote before it ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._ended.wait()
        return self.last

    def close(self) -> None:
        """Read no more."""
        if self._transport is not None:
            self._transport.close()
