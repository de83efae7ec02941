"""A mesh of one: what a daemon has when it is in no mesh; satisfies `mesh.mesh.Mesh`. Nothing listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import NoReturn

from megatools.hostkit.errors import NotFound, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.calls import HERE, Call, absent
from megatools.minimega.mesh.local import run_here
from megatools.minimega.mesh.mesh import (
    Acceptor,
    Arrival,
    Caller,
    Handler,
    Link,
    Member,
    MemberEvent,
    MeshStatus,
    Opener,
    Stream,
)

HOW = "minimega cluster init, then cluster join HOST on the others; or -mesh-open on a network where all are trusted"


class LonelyMesh:
    """This node and nobody else."""

    def __init__(self, name: str, context: str, port: int, supervisor: Supervisor) -> None:
        self._name = name
        self._context = context
        self._port = port
        self._supervisor = supervisor
        self._handlers: dict[str, Handler] = {}
        self._closed = asyncio.Event()

    def start(self) -> None:
        """Nothing is to be started."""

    def announce(self) -> None:
        """Nobody is to be told."""

    @property
    def name(self) -> str:
        """This node's name."""
        return self._name

    def members(self) -> Sequence[Member]:
        """Nobody."""
        return ()

    def status(self) -> MeshStatus:
        """Off."""
        return MeshStatus("off", "none", self._context, self._port, f"not in a mesh: {HOW}")

    async def events(self) -> AsyncIterator[MemberEvent]:
        """Nothing, until it is closed."""
        nothing: Sequence[MemberEvent] = ()
        await self._closed.wait()
        for event in nothing:
            yield event

    async def call(
        self, targets: Sequence[str], service: str, request: bytes, *, timeout_s: float
    ) -> AsyncIterator[Arrival]:
        """Ask this node; all others are not there."""
        call = Call({self._name: HERE} if self._name in targets else {})
        for name in dict.fromkeys(targets):
            if name != self._name:
                call.refuse(absent(name))
        task = self._supervisor.start(f"answer {service}", run_here(call, self._name, self._answer(service, request)))
        timer = asyncio.get_running_loop().call_later(timeout_s, call.expire, timeout_s)
        try:
            while not call.over:
                yield await call.take()
        finally:
            timer.cancel()
            task.cancel()

    async def _answer(self, service: str, request: bytes) -> AsyncGenerator[bytes, None]:
        handler = self._handlers.get(service)
        if handler is None:
            raise NotFound(f'no service "{service}" on "{self._name}"')
        async for part in handler(Caller(self._name), request):
            yield part

    def serve(self, service: str, handler: Handler) -> None:
        """Answer this node's own calls."""
        self._handlers[service] = handler

    async def open(self, target: str, service: str, request: bytes) -> Stream:
        """Raises NotFound."""
        self._nobody(target)

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Nobody can open one."""

    async def pull(self, target: str, name: str, offset: int, length: int, into: int) -> int:
        """Raises NotFound."""
        self._nobody(target)

    def share(self, opener: Opener) -> None:
        """Nobody can pull it."""

    async def dial(self, address: str) -> None:
        """Raises Unavailable."""
        raise Unavailable(f'cannot dial "{address}": this host is in no mesh', hint=HOW)

    async def hangup(self, name: str) -> None:
        """Raises NotFound."""
        self._nobody(name)

    async def links(self) -> Sequence[Link]:
        """None."""
        return ()

    async def close(self) -> None:
        """End what listens."""
        self._closed.set()

    def _nobody(self, name: str) -> NoReturn:
        raise NotFound(f'node "{name}" is not in the mesh', hint=HOW)
