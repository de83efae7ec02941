"""The connecting end of the side channel: streams to and pulls from other nodes. Used by `mesh.channel`.

Connections are kept for a while after a pull, for the next one from the same node.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial

from megatools.hostkit.errors import PermissionDenied, ProtocolError, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.bridge import Bridge
from megatools.minimega.mesh.bulk import receive_file
from megatools.minimega.mesh.connection import Connection, Ended
from megatools.minimega.mesh.exchange import Answer, Ask, Want
from megatools.minimega.mesh.mesh import Member, Stream
from megatools.minimega.mesh.tls import Secured

RECEIVERS = 16
_CONNECT_S = 10.0
_ANSWER_S = 30.0
_STALL_S = 15.0
_KEPT_S = 15.0
_MOST_KEPT = 4


class Asking:
    """Connections of ours to other nodes."""

    def __init__(self, name: str, secured: Secured | None, supervisor: Supervisor) -> None:
        self._name = name
        self._secured = secured
        self._supervisor = supervisor
        self._receivers = asyncio.Semaphore(RECEIVERS)
        self._pool = ThreadPoolExecutor(RECEIVERS, "side-receive")
        self._members: dict[Connection, Member] = {}
        self._kept: dict[Member, list[Connection]] = {}
        self._streams: set[asyncio.Task[None]] = set()

    async def open(self, member: Member, service: str, request: bytes) -> Stream:
        """A stream to a service of another node. Raises Unavailable, PermissionDenied, and what its acceptor raises."""
        connection = await self._connect(member)
        with _telling(member):
            answer = await self._exchange(connection, Ask(self._name, Want.STREAM, service, payload=request))
        refused = answer.raised()
        if refused is not None:
            self._drop(connection)
            raise refused
        bridge = Bridge(connection)
        task = self._supervisor.start(f"stream to {member.name}", bridge.carry())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        task.add_done_callback(lambda _: self._drop(connection))
        return await bridge.stream()

    async def pull(self, member: Member, name: str, offset: int, length: int, into: int) -> int:
        """Copy bytes of something another node shares to the same place of an open file; returns how many came.

        Raises Unavailable, PermissionDenied, and what the node says: NotFound, mostly.
        """
        async with self._receivers:
            connection, answer = await self._asked(member, Ask(self._name, Want.PULL, name, offset, length))
            refused = answer.raised()
            try:
                if answer.length > length or answer.length < 0:
                    raise ProtocolError(f'node "{member.name}" sends "{answer.length}" bytes of "{length}"')
                if answer.length:
                    work = partial(receive_file, into=into, offset=offset, length=answer.length)
                    await connection.lend(self._pool, work, stall_s=_STALL_S)
            except OSError as error:
                self._drop(connection)
                raise Unavailable(f'node "{member.name}" was lost while it sent "{name}"') from error
            except BaseException:
                self._drop(connection)
                raise
            self._keep(connection, member)
        if refused is not None:
            raise refused
        return answer.length

    def check(self) -> None:
        """End the connections to those we may have none to any more."""
        for connection in self._members:
            if self._secured is not None and not self._secured.takes(connection.certificate):
                connection.cut()

    def lost(self, member: Member) -> None:
        """End the connections to a node that is gone."""
        for connection, other in self._members.items():
            if other.id == member.id:
                connection.cut()

    async def close(self) -> None:
        """End everything; who uses a connection gets an error."""
        for member in list(self._kept):
            while (connection := self._kept_for(member)) is not None:
                self._drop(connection)
        for connection in self._members:
            connection.cut()
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        self._pool.shutdown(wait=False)

    async def _asked(self, member: Member, ask: Ask) -> tuple[Connection, Answer]:
        """The answer, and the connection it came over: a kept one, or a new one if that has gone away."""
        with _telling(member):
            kept = self._kept_for(member)
            if kept is not None:
                with suppress(ConnectionError, ssl.SSLError):
                    return kept, await self._exchange(kept, ask)
        connection = await self._connect(member)
        with _telling(member):
            return connection, await self._exchange(connection, ask)

    async def _exchange(self, connection: Connection, ask: Ask) -> Answer:
        try:
            async with asyncio.timeout(_ANSWER_S):
                await connection.write_frame(ask)
                return await connection.read_frame(Answer)
        except BaseException:
            self._drop(connection)
            raise

    async def _connect(self, member: Member) -> Connection:
        host, _, port = member.address.rpartition(":")
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        connection = Connection(sock)
        self._members[connection] = member
        try:
            with _telling(member):
                async with asyncio.timeout(_CONNECT_S):
                    await asyncio.get_running_loop().sock_connect(sock, (host.strip("[]"), int(port)))
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    if self._secured is not None:
                        await connection.secure(self._secured.client, server=False)
            self._recognize(connection, member)
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _recognize(self, connection: Connection, member: Member) -> None:
        if self._secured is not None:
            name = self._secured.peer(connection.certificate).name
            if name != member.name:
                raise PermissionDenied(f'at "{member.address}" there is node "{name}", not "{member.name}"')

    def _kept_for(self, member: Member) -> Connection | None:
        while kept := self._kept.get(member):
            connection = kept.pop()
            if not kept:
                del self._kept[member]
            if connection.is_quiet():
                return connection
            self._drop(connection)
        return None

    def _keep(self, connection: Connection, member: Member) -> None:
        kept = self._kept.setdefault(member, [])
        kept.append(connection)
        asyncio.get_running_loop().call_later(_KEPT_S, self._tire, connection, member)
        if len(kept) > _MOST_KEPT:
            self._drop(kept.pop(0))

    def _tire(self, connection: Connection, member: Member) -> None:
        """Close a connection that is still kept; one that was used meanwhile is kept a bit less than its time."""
        kept = self._kept.get(member, [])
        if connection in kept:
            kept.remove(connection)
            if not kept:
                del self._kept[member]
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._members.pop(connection, None)
        connection.close()


@contextmanager
def _telling(member: Member) -> Generator[None]:
    """Turn what can happen to a connection into words."""
    name = member.name
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise PermissionDenied(f'the certificate of node "{name}" is not one of this cluster, or not valid') from error
    except ssl.SSLError as error:
        raise PermissionDenied(f'node "{name}" does not take this node\'s certificate', hint="cluster list") from error
    except TimeoutError as error:
        raise Unavailable(f'node "{name}" does not answer at "{member.address}" in time') from error
    except Ended as error:
        raise Unavailable(
            f'node "{name}" closed the connection',
            hint="it may not take this node's certificate any more: cluster list",
        ) from error
    except OSError as error:
        raise Unavailable(f'node "{name}" cannot be reached at "{member.address}"') from error
