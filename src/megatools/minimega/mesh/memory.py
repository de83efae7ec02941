"""The mesh's twin in memory: nodes of one process, with faults on demand; for unit tests and the simulation.

Imported by tests and `bench/simulate` only. A `MemoryNetwork` holds the nodes; pairs of them can be cut apart, nodes
can be made to hang or crash.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from megatools.hostkit.errors import MegaError, NotFound, Unavailable, chain_text, hint_of
from megatools.minimega.mesh.mesh import (
    Acceptor,
    Arrival,
    Caller,
    Ending,
    Handler,
    Link,
    Member,
    MemberEvent,
    MeshStatus,
    Opener,
    Role,
    Stream,
)

_log = logging.getLogger(__name__)


class MemoryNetwork:
    """All nodes of a mesh in memory, and what is wrong between them."""

    def __init__(self) -> None:
        self.nodes: dict[str, MemoryMesh] = {}
        self._cut: set[frozenset[str]] = set()
        self.hanging: set[str] = set()
        self._starts = 0

    def join(self, name: str, *, role: Role = Role.FULL, namespace: str = "", certificate: str = "") -> MemoryMesh:
        """A new node; one that had this name is gone."""
        if name in self.nodes:
            self.crash(name)
        self._starts += 1
        node = MemoryMesh(self, Caller(name, role, namespace, certificate), f"{name}#{self._starts}")
        self.nodes[name] = node
        for other in self._reachable(name):
            self._tell(name, other, joined=True)
        return node

    def crash(self, name: str) -> None:
        """A node is gone without a word: what others asked it is lost."""
        others = self._reachable(name)
        node = self.nodes.pop(name)
        self.hanging.discard(name)
        for other in others:
            self.nodes[other].push(MemberEvent(node.member, joined=False))
        node.end_calls()
        for other in others:
            self.nodes[other].lose(name)

    def cut(self, one: str, other: str) -> None:
        """Two nodes can no longer reach each other."""
        self._cut.add(frozenset((one, other)))
        self._tell(one, other, joined=False)
        if one in self.nodes and other in self.nodes:
            self.nodes[one].lose(other)
            self.nodes[other].lose(one)

    def mend(self, one: str, other: str) -> None:
        """Two nodes reach each other again."""
        if frozenset((one, other)) in self._cut:
            self._cut.discard(frozenset((one, other)))
            self._tell(one, other, joined=True)

    def partition(self, *sides: Sequence[str]) -> None:
        """Nodes of different sides can no longer reach each other."""
        for number, side in enumerate(sides):
            for other in sides[number + 1 :]:
                for one in side:
                    for far in other:
                        self.cut(one, far)

    def heal(self) -> None:
        """Everybody reaches everybody again."""
        for one, other in sorted(tuple(sorted(pair)) for pair in self._cut):
            self.mend(one, other)

    def reaches(self, one: str, other: str) -> bool:
        """Whether a node can send to another."""
        return other in self.nodes and frozenset((one, other)) not in self._cut

    def _reachable(self, name: str) -> list[str]:
        return [other for other in self.nodes if other != name and self.reaches(name, other)]

    def _tell(self, one: str, other: str, *, joined: bool) -> None:
        if one not in self.nodes or other not in self.nodes:
            return
        self.nodes[one].push(MemberEvent(self.nodes[other].member, joined))
        self.nodes[other].push(MemberEvent(self.nodes[one].member, joined))


class MemoryMesh:
    """One node; satisfies `Mesh`."""

    def __init__(self, network: MemoryNetwork, caller: Caller, node_id: str) -> None:
        self._network = network
        self._caller = caller
        self.member = Member(caller.name, node_id, f"{caller.name}:9001", certificate=caller.certificate)
        self._handlers: dict[str, Handler] = {}
        self._acceptors: dict[str, Acceptor] = {}
        self._opener: Opener | None = None
        self._queues: set[asyncio.Queue[MemberEvent | None]] = set()
        self._asked: dict[asyncio.Task[None], str] = {}  # what we asked of others, and whom
        self._streams: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """This node's name."""
        return self._caller.name

    def members(self) -> Sequence[Member]:
        """The other nodes that can be reached now."""
        network = self._network
        return tuple(
            node.member
            for name, node in sorted(network.nodes.items())
            if name != self.name and network.reaches(self.name, name)
        )

    def status(self) -> MeshStatus:
        """A mesh in memory."""
        return MeshStatus("open", "clique", "memory", 0)

    async def events(self) -> AsyncIterator[MemberEvent]:
        """Comings and goings from now on."""
        queue: asyncio.Queue[MemberEvent | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)

    async def call(
        self, targets: Sequence[str], service: str, request: bytes, *, timeout_s: float
    ) -> AsyncIterator[Arrival]:
        """Ask nodes; one end per target."""
        arrivals: asyncio.Queue[Arrival] = asyncio.Queue()
        waiting = dict.fromkeys(targets)
        tasks = [asyncio.create_task(self._ask(target, service, request, timeout_s, arrivals)) for target in waiting]
        for task, target in zip(tasks, waiting, strict=True):
            self._asked[task] = target
            task.add_done_callback(self._asked.pop)
        left = len(tasks)
        try:
            while left:
                arrival = await arrivals.get()
                left -= arrival.ending is not None
                yield arrival
        finally:
            for task in tasks:
                task.cancel("closed")
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(
        self, target: str, service: str, request: bytes, timeout_s: float, arrivals: asyncio.Queue[Arrival]
    ) -> None:
        node = self._network.nodes.get(target) if self._network.reaches(self.name, target) else None
        if node is None:
            arrivals.put_nowait(Arrival(target, ending=Ending.LOST, error=f'node "{target}" is not in the mesh'))
            return
        try:
            async with asyncio.timeout(timeout_s):
                if target in self._network.hanging:
                    await asyncio.Event().wait()
                await node.answer(self._caller, service, request, target, arrivals)
        except TimeoutError:
            arrivals.put_nowait(Arrival(target, ending=Ending.TIMED_OUT, error=f"no answer within {timeout_s:g} s"))
        except asyncio.CancelledError as cancelled:
            if cancelled.args == ("closed",):
                raise
            arrivals.put_nowait(Arrival(target, ending=Ending.LOST, error=f'node "{target}" was lost'))
        except MegaError as error:
            arrivals.put_nowait(
                Arrival(
                    target,
                    ending=Ending.ERROR,
                    error=chain_text(error),
                    hint=hint_of(error),
                    kind=type(error).__name__,
                )
            )
        except Exception as error:  # noqa: BLE001 - the message boundary (R5): a bug there is one line here
            arrivals.put_nowait(Arrival(target, ending=Ending.ERROR, error=f"internal error: {error!r}"))
        else:
            arrivals.put_nowait(Arrival(target, ending=Ending.DONE))

    async def answer(
        self, caller: Caller, service: str, request: bytes, host: str, arrivals: asyncio.Queue[Arrival]
    ) -> None:
        """Serve a call here; called by the node that asks."""
        handler = self._handlers.get(service)
        if handler is None:
            raise NotFound(f'no service "{service}"')
        async with aclosing(handler(caller, request)) as parts:
            async for part in parts:
                arrivals.put_nowait(Arrival(host, part))

    def serve(self, service: str, handler: Handler) -> None:
        """Answer calls of a service."""
        self._handlers[service] = handler

    async def open(self, target: str, service: str, request: bytes) -> Stream:
        """A byte stream over a pair of sockets."""
        node = self._peer(target)
        acceptor = node._acceptors.get(service)
        if acceptor is None:
            raise NotFound(f'no service "{service}" on "{target}"')
        ours, theirs = socket.socketpair()
        far = Stream(*await asyncio.open_connection(sock=theirs))
        task = asyncio.create_task(node.take(acceptor, self._caller, request, far))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        return Stream(*await asyncio.open_connection(sock=ours))

    async def take(self, acceptor: Acceptor, caller: Caller, request: bytes, stream: Stream) -> None:
        """Serve a stream here; called by the node that opens it."""
        try:
            await acceptor(caller, request, stream)
        except MegaError as error:
            _log.info("a stream of %s was refused: %s", caller.name, chain_text(error))
        finally:
            stream.writer.close()

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Take streams of a service."""
        self._acceptors[service] = acceptor

    async def pull(self, target: str, name: str, offset: int, length: int, into: int) -> int:
        """Copy from the file a peer shares."""
        node = self._peer(target)
        if node._opener is None:
            raise NotFound(f'"{target}" shares nothing')
        data = node._opener(self._caller, name).read_bytes()[offset : offset + length]
        return os.pwrite(into, data, offset)

    def share(self, opener: Opener) -> None:
        """Say what peers may pull."""
        self._opener = opener

    async def dial(self, address: str) -> None:
        """Undo a cut between two nodes; the address is a node's name."""
        name = address.partition(":")[0]
        if name not in self._network.nodes:
            raise Unavailable(f'no answer from "{address}"')
        self._network.mend(self.name, name)

    async def hangup(self, name: str) -> None:
        """Cut ourselves off a node."""
        self._peer(name)
        self._network.cut(self.name, name)

    async def links(self) -> Sequence[Link]:
        """One link per member."""
        return tuple(Link(self.name, member.name, member.address) for member in self.members())

    async def close(self) -> None:
        """Leave."""
        self._network.crash(self.name)

    # what the network calls

    def push(self, event: MemberEvent) -> None:
        """Tell those who listen."""
        for queue in self._queues:
            queue.put_nowait(event)

    def lose(self, name: str) -> None:
        """What was asked of a node is lost."""
        for task, target in list(self._asked.items()):
            if target == name:
                task.cancel("lost")

    def end_calls(self) -> None:
        """This node is gone: nobody waits for what it asked, nobody listens."""
        for task in list(self._asked):
            task.cancel("lost")
        for queue in self._queues:
            queue.put_nowait(None)

    def _peer(self, name: str) -> MemoryMesh:
        if name == self.name or not self._network.reaches(self.name, name):
            raise NotFound(f'node "{name}" is not in the mesh', hint="mesh list")
        return self._network.nodes[name]
