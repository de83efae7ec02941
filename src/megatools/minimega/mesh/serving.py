"""The listening end of the side channel: who may connect, and what they get. Used by `mesh.channel`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, PermissionDenied, Unavailable, chain_text
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.bridge import Bridge
from megatools.minimega.mesh.bulk import send_file
from megatools.minimega.mesh.connection import Connection
from megatools.minimega.mesh.exchange import Answer, Ask, Want, refusal
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.mesh import Acceptor, Caller, Opener, Stream
from megatools.minimega.mesh.tls import Secured

_log = logging.getLogger(__name__)
SENDERS = 16
_STRANGERS = 64
_BACKLOG = 256
_HANDSHAKE_S = 10.0
_IDLE_S = 60.0
_STALL_S = 15.0
_GRACE_S = 0.25
_SMALL = 1 << 16
_NO_DESCRIPTORS_S = 0.5


class Serving:
    """Takes connections; what they may reach is added by `acceptors` and `opener`."""

    def __init__(self, secured: Secured | None, supervisor: Supervisor, gate: Gate) -> None:
        self._secured = secured
        self._gate = gate
        self._supervisor = supervisor
        self.acceptors: dict[str, Acceptor] = {}
        self.opener: Opener | None = None
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._strangers = asyncio.Semaphore(_STRANGERS)
        self._senders = asyncio.Semaphore(SENDERS)
        self._pool = ThreadPoolExecutor(SENDERS, "side-send")

    def listen(self, host: str, port: int) -> None:
        """Listen at an address from now on, and no longer where it did. Raises Unavailable."""
        self.stop_listening()
        listener: socket.socket | None = None
        try:
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(_BACKLOG)
        except OSError as error:
            if listener is not None:
                listener.close()
            raise Unavailable(
                f'cannot listen on "{host}" port "{port}"',
                hint="another -port leaves this one alone: P and P+1 are used",
            ) from error
        listener.setblocking(False)
        self._listener = listener
        self._accepting = self._supervisor.start("side channel", self._accept(listener))

    def stop_listening(self) -> None:
        """Take no new connections."""
        if self._accepting is not None:
            self._accepting.cancel()
        if self._listener is not None:
            self._listener.close()
        self._listener = None

    def check(self) -> None:
        """End the connections of those who may have none any more."""
        for connection in self._connections.values():
            if self._secured is not None and not self._secured.takes(connection.certificate):
                connection.cut()

    async def close(self) -> None:
        """End everything."""
        self.stop_listening()
        for task, connection in self._connections.items():
            connection.cut()
            task.cancel()
        ending = [*self._connections, *([self._accepting] if self._accepting else [])]
        await asyncio.gather(*ending, return_exceptions=True)
        self._pool.shutdown(wait=False)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._strangers.acquire()
            try:
                sock, address = await loop.sock_accept(listener)
            except OSError as error:
                self._strangers.release()
                _log.warning("side channel: %s", error)  # no descriptors left, most likely
                await asyncio.sleep(_NO_DESCRIPTORS_S)
                continue
            except asyncio.CancelledError:
                self._strangers.release()
                raise
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(sock)
            task = self._supervisor.start("side connection", self._receive(connection, str(address[0])))
            self._connections[task] = connection
            task.add_done_callback(partial(self._gone, connection))

    def _gone(self, connection: Connection, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        connection.close()

    async def _receive(self, connection: Connection, address: str) -> None:
        try:
            caller = await self._meet(connection)
            while await self._once(connection, caller):
                pass
        except MegaError as error:
            _log.info("side channel: %s: %s", address, chain_text(error))
        except (OSError, TimeoutError) as error:
            _log.info("side channel: %s: %s", address, error)

    async def _meet(self, connection: Connection) -> Caller | None:
        """Who is there, if certificates say it. Raises PermissionDenied, and OSError for a failed handshake."""
        try:
            if self._secured is None:
                return None
            async with asyncio.timeout(_HANDSHAKE_S):
                await connection.secure(self._secured.server, server=True)
            return self._secured.peer(connection.certificate).caller
        finally:
            self._strangers.release()

    async def _once(self, connection: Connection, known: Caller | None) -> bool:
        """Serve one request; whether another one may come. Raises what ends the connection."""
        async with asyncio.timeout(_IDLE_S):
            ask = await connection.read_frame(Ask)
        caller = known or Caller(ask.caller)
        if caller.name != ask.caller:
            raise PermissionDenied(f'node "{caller.name}" says that it is "{ask.caller}"')
        await self._gate.passed(caller.name)
        if self._secured is not None:
            self._secured.peer(connection.certificate)  # it may have been revoked meanwhile
        try:
            if ask.want is Want.STREAM:
                await self._stream(connection, caller, ask)
                return False
            descriptor, length = self._found(caller, ask)
        except MegaError as error:
            await connection.write_frame(refusal(error))
            return ask.want is Want.PULL
        try:
            await self._send(connection, descriptor, ask.offset, length)
        finally:
            os.close(descriptor)
        return True

    def _found(self, caller: Caller, ask: Ask) -> tuple[int, int]:
        """An open file and how many bytes of it come."""
        if ask.offset < 0 or ask.length < 0:
            raise InvalidInput(f'no such part of "{ask.name}": "{ask.length}" bytes from "{ask.offset}"')
        if self.opener is None:
            raise NotFound("this node shares nothing")
        descriptor, size = _open(self.opener(caller, ask.name), ask.name)
        return descriptor, max(0, min(ask.length, size - ask.offset))

    async def _send(self, connection: Connection, descriptor: int, offset: int, length: int) -> None:
        async with self._senders:
            await connection.write_frame(Answer(length))
            if length <= _SMALL:
                await connection.write(os.pread(descriptor, length, offset))
            else:
                work = partial(send_file, source=descriptor, offset=offset, length=length)
                await connection.lend(self._pool, work, stall_s=_STALL_S)

    async def _stream(self, connection: Connection, caller: Caller, ask: Ask) -> None:
        """Serve a stream to its end. Raises the acceptor's error when it refused before anything was written."""
        acceptor = self.acceptors.get(ask.name)
        if acceptor is None:
            raise NotFound(f'no service "{ask.name}"')
        bridge = Bridge(connection)
        stream = await bridge.stream()
        serving = asyncio.create_task(_serve(acceptor, caller, ask.payload, stream))
        try:
            await _begun(serving, bridge)
            if serving.done():
                serving.result()
            await connection.write_frame(Answer())
            await bridge.carry()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            bridge.close_streams()


async def _serve(acceptor: Acceptor, caller: Caller, payload: bytes, stream: Stream) -> None:
    """Let an acceptor have its stream. Raises MegaError; a bug is logged here, for the caller it is Unavailable."""
    try:
        await acceptor(caller, payload, stream)
    except MegaError as error:
        _log.info("stream: %s", chain_text(error))
        raise
    except OSError as error:
        raise Unavailable("the stream broke off") from error
    except Exception as error:  # a mesh message is a boundary (R5): a bug keeps its traceback
        _log.exception("a stream failed")
        raise Unavailable(f"internal error: {error!r}") from error
    finally:
        stream.writer.close()


async def _begun(serving: asyncio.Task[None], bridge: Bridge) -> None:
    """Until it shows whether the acceptor takes the stream: it wrote something, ended, or was quiet for a while."""
    written = asyncio.create_task(bridge.wait_for_bytes())
    try:
        await asyncio.wait((serving, written), timeout=_GRACE_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        written.cancel()
        await asyncio.gather(written, return_exceptions=True)


def _open(path: Path, name: str) -> tuple[int, int]:
    """A regular file opened for reading, and its size. Raises NotFound, PermissionDenied."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotFound(f'there is no "{name}"') from error
    except OSError as error:
        raise PermissionDenied(f'cannot read "{name}"') from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise NotFound(f'"{name}" is no file')
    return descriptor, found.st_size
