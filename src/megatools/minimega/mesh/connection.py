"""A connection of the side channel, TLS or plain: awaited on the event loop, or lent to a thread for bulk bytes.

`channel` uses it. Sockets of the standard library, because bulk bytes go fastest through blocking calls in a thread
(they release the interpreter's lock), and asyncio's own TLS cannot hand a connection over to one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec

from megatools.hostkit.errors import ProtocolError

_MAX_FRAME = 1 << 22
_PIECE = 1 << 16
T = TypeVar("T")


class Ended(ConnectionError):
    """The other end closed the connection, or it was cut."""


class Connection:
    """A connected socket; every wait is the caller's to limit."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)
        self._waiting: dict[bool, set[asyncio.Future[None]]] = {False: set(), True: set()}  # by "to write"

    @property
    def certificate(self) -> bytes | None:
        """The certificate (DER) the other end showed."""
        return self._sock.getpeercert(binary_form=True) if isinstance(self._sock, ssl.SSLSocket) else None

    async def secure(self, context: ssl.SSLContext, *, server: bool) -> None:
        """Turn it into a TLS connection. Raises ssl.SSLError, Ended."""
        sock = context.wrap_socket(self._sock, server_side=server, do_handshake_on_connect=False)
        self._sock = sock
        await self._until(sock.do_handshake)

    async def read(self, limit: int = _PIECE) -> bytes:
        """Some bytes; none at the end."""
        return await self._until(partial(self._sock.recv, limit))

    async def read_exactly(self, count: int) -> bytes:
        """That many bytes. Raises Ended."""
        parts: list[bytes] = []
        while count > 0:
            part = await self.read(min(count, _PIECE))
            if not part:
                raise Ended("the connection was closed")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """All of the bytes."""
        left = memoryview(data)
        while left:
            piece = left
            left = left[await self._until(partial(self._sock.send, piece), writing=True) :]

    async def read_frame(self, kind: type[T]) -> T:
        """A message of the other end. Raises Ended, ProtocolError."""
        length = int.from_bytes(await self.read_exactly(4), "big")
        if length > _MAX_FRAME:
            raise ProtocolError(f'a message of "{length}" bytes is longer than {_MAX_FRAME}')
        try:
            return msgspec.msgpack.decode(await self.read_exactly(length), type=kind)
        except msgspec.MsgspecError as error:
            raise ProtocolError("unreadable message from another node") from error

    async def write_frame(self, message: msgspec.Struct) -> None:
        """Send a message."""
        data = msgspec.msgpack.encode(message)
        await self.write(len(data).to_bytes(4, "big") + data)

    async def lend(self, pool: Executor, work: Callable[[socket.socket], None], *, stall_s: float) -> None:
        """Let a thread use the socket with blocking calls, each of which may take `stall_s`.

        Returns when the thread is done with it, also when cancelled: the connection is cut then. Raises what it raises.
        """
        self._sock.settimeout(stall_s)
        running = asyncio.get_running_loop().run_in_executor(pool, work, self._sock)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            self.cut()
            while not running.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((running,))
            running.exception()  # whatever it was, nobody waits for it any more
            raise
        finally:
            self._sock.setblocking(False)

    def is_quiet(self) -> bool:
        """Whether it is still open and nothing was said on it: then it can be used again."""
        try:
            socket.socket.recv(self._sock, 1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def cut(self) -> None:
        """End it at once for whoever uses it, on the loop or in a thread; it must still be closed."""
        with suppress(OSError):  # it is down already
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    async def readable(self) -> None:
        """Until there is something to read on a plain connection, or it ended."""
        await self._until(partial(self._sock.recv, 1, socket.MSG_PEEK))

    def end_writing(self) -> None:
        """The other end of a plain connection reads what was written, and then its end."""
        with suppress(OSError):  # the other end was faster
            self._sock.shutdown(socket.SHUT_WR)

    async def finish(self) -> None:
        """Say the end of what was written, so that the other end gets it all, and wait until it closes too."""
        if isinstance(self._sock, ssl.SSLSocket):
            await self._until(self._say_end)
        self.end_writing()  # from here on the socket is a plain one
        while await self.read():
            pass

    def _say_end(self) -> None:
        assert isinstance(self._sock, ssl.SSLSocket)
        try:
            self._sock.unwrap()
        except ssl.SSLWantWriteError:
            raise
        except (OSError, ValueError):
            return  # said; the other end has not, and need not

    def close(self) -> None:
        """Give the socket up; what waits on it ends."""
        for writing, waiting in self._waiting.items():
            for future in waiting:
                if not future.done():
                    future.set_exception(Ended("the connection was closed"))
            if waiting:
                self._unwatch(writing)
            waiting.clear()
        self._sock.close()

    async def _until(self, attempt: Callable[[], T], *, writing: bool = False) -> T:
        """Try until it need not wait any more; `writing` says what a plain socket waits for."""
        while True:
            try:
                return attempt()
            except ssl.SSLWantReadError:
                await self._ready(writing=False)
            except ssl.SSLWantWriteError:
                await self._ready(writing=True)
            except BlockingIOError:
                await self._ready(writing=writing)

    async def _ready(self, *, writing: bool) -> None:
        waiting = self._waiting[writing]
        loop = asyncio.get_running_loop()
        if not waiting:
            (loop.add_writer if writing else loop.add_reader)(self._sock.fileno(), self._wake, writing)
        future: asyncio.Future[None] = loop.create_future()
        waiting.add(future)
        try:
            await future
        finally:
            if future in waiting:
                waiting.discard(future)
                if not waiting:
                    self._unwatch(writing)

    def _wake(self, writing: bool) -> None:
        for future in self._waiting[writing]:
            if not future.done():
                future.set_result(None)

    def _unwatch(self, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        (loop.remove_writer if writing else loop.remove_reader)(self._sock.fileno())
