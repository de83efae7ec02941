"""The mesh for real: Zenoh peers that all know each other, in an engine process that this keeps running.

Put together by `app`; satisfies `mesh.mesh.Mesh`. Decision 20 has the reasons and the measurements. ::

    call --> Call ----Ask----> engine process ==== other engines ==== engine process --> Answering --> handlers
               <--Replied/Finished--                                    <----Answer----

    no address --> starting --> up --(ended | does not answer | address changed | certificates changed)--> starting
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial

from megatools.hostkit.errors import MegaError, NotFound, Unavailable, chain_text
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import frames, wire
from megatools.minimega.mesh.answering import Answering
from megatools.minimega.mesh.beside import Beside
from megatools.minimega.mesh.calls import HERE, Call, absent, doubled
from megatools.minimega.mesh.contacts import Contacts
from megatools.minimega.mesh.engine_keeper import EngineKeeper
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.local import run_here
from megatools.minimega.mesh.membership import Membership
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
    Stream,
)
from megatools.minimega.mesh.plan import SIDE_PORT, MeshPlan
from megatools.minimega.mesh.standing import Standing

_log = logging.getLogger(__name__)
_NOTIFY_S = 1.0


class ZenohMesh:
    """This node's end of the mesh."""

    def __init__(self, plan: MeshPlan, supervisor: Supervisor) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._membership = Membership(plan.name)
        self._answering = Answering(plan.name, supervisor, self._send, plan.gate, plan.renewed)
        self._keeper = EngineKeeper(plan, self)
        self._contacts = Contacts(plan, self._keeper, self._membership, supervisor, self)
        self._answering.internal[wire.HANGUP] = self._contacts.heard
        self._beside = Beside()
        self._standing: Standing | None = None
        self._calls: dict[int, Call] = {}
        self._here: dict[int, asyncio.Task[None]] = {}
        self._numbers = itertools.count(1)
        self._run = os.urandom(8)
        self._queues: set[asyncio.Queue[MemberEvent | None]] = set()
        self._links: dict[tuple[str, str, str], frames.LinkSeen] = {}
        plan.standings.listen(self._beside.check)
        plan.standings.listen(self._shun_soon)

    @property
    def gate(self) -> Gate:
        """What requests of other nodes wait for."""
        return self._plan.gate

    def start(self) -> None:
        """Start the engine and look for others, once this node is in a mesh; returns at once."""
        self._supervisor.keep("mesh", self._keeper.keep)
        self._supervisor.keep("redial", self._contacts.redial)

    def announce(self) -> None:
        """Be a member, once this node can answer what it is asked."""
        self._keeper.announce()

    @property
    def name(self) -> str:
        """This node's name."""
        return self._plan.name

    def members(self) -> Sequence[Member]:
        """The other nodes that can be reached now."""
        return self._membership.members()

    def status(self) -> MeshStatus:
        """What it is and, in `detail`, what is wrong or worth knowing."""
        plan, standing = self._plan, self._keeper.standing
        mode = "none" if standing.security == "off" else plan.mode
        detail = self._keeper.trouble or standing.detail
        return MeshStatus(standing.security, mode, plan.context, plan.port, detail)

    async def events(self) -> AsyncIterator[MemberEvent]:
        """Comings and goings from now on."""
        queue: asyncio.Queue[MemberEvent | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._queues.discard(queue)

    # calls

    async def call(
        self, targets: Sequence[str], service: str, request: bytes, *, timeout_s: float
    ) -> AsyncIterator[Arrival]:
        """Ask nodes; one end per target."""
        number = next(self._numbers)
        call = self._begin(number, dict.fromkeys(targets), service, request, timeout_s)
        timer = asyncio.get_running_loop().call_later(timeout_s, call.expire, timeout_s)
        try:
            while not call.over:
                yield await call.take()
        finally:
            timer.cancel()
            del self._calls[number]
            self._give_up(number, call)

    def _begin(self, number: int, targets: Iterable[str], service: str, request: bytes, timeout_s: float) -> Call:
        asked: dict[str, str] = {}
        refused: list[Arrival] = []
        for name in targets:
            found = self._membership.get(name)
            if name == self.name:
                asked[name] = HERE
            elif not found:
                refused.append(absent(name))
            elif found[0].doubled:
                refused.append(doubled(found))
            else:
                asked[name] = found[0].id
        call = self._calls[number] = Call(asked)
        call.renewed = service in self._plan.renewed
        for refusal in refused:
            call.refuse(refusal)
        if self.name in asked:
            run = partial(self._answering.run, Caller(self.name), service, request)
            self._here[number] = self._supervisor.start(f"answer {service}", run_here(call, self.name, run))
        self._ask(number, asked, service, request, timeout_s)
        return call

    def _ask(self, number: int, asked: dict[str, str], service: str, payload: bytes, timeout_s: float) -> None:
        far = {name: identity for name, identity in asked.items() if identity != HERE}
        if not far:
            return
        to = tuple(wire.short(identity) for identity in far.values())
        request = wire.Request(self._run, number, self.name, to, service, timeout_s, payload)
        encoded = wire.encode(request)
        signed = wire.encode(wire.Signed(encoded, self._keeper.standing.trust.sign(encoded, tuple(far))))
        # One question to all costs less than many to one each; who is not meant drops it.
        most = len(far) > 1 and 2 * len(far) >= len(self._membership.members())
        self._send(frames.Ask(number, () if most else tuple(far), signed, timeout_s + 1))

    def _give_up(self, number: int, call: Call) -> None:
        """Nobody listens any more: stop what still runs."""
        here = self._here.pop(number, None)
        if here is not None:
            here.cancel()
        if left := call.far:
            self._send(frames.Forget(number))
            self._ask(next(self._numbers), left, wire.STOP, number.to_bytes(8, "big"), 1.0)

    def serve(self, service: str, handler: Handler) -> None:
        """Answer calls of a service."""
        self._answering.handlers[service] = handler

    # streams and pulls

    async def open(self, target: str, service: str, request: bytes) -> Stream:
        """A byte stream over the side channel."""
        return await self._beside.channel.open(self._member(target), service, request)

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Take streams of a service."""
        self._beside.accept(service, acceptor)

    async def pull(self, target: str, name: str, offset: int, length: int, into: int) -> int:
        """Copy from what a peer shares, over the side channel."""
        return await self._beside.channel.pull(self._member(target), name, offset, length, into)

    def share(self, opener: Opener) -> None:
        """Say what peers may pull."""
        self._beside.share(opener)

    def _member(self, name: str) -> Member:
        found = self._membership.get(name)
        if not found or name == self.name:
            raise NotFound(f'node "{name}" is not in the mesh', hint="mesh list")
        if found[0].doubled:
            refusal = doubled(found)
            raise Unavailable(refusal.error, hint=refusal.hint)
        return found[0]

    # who is connected to whom

    async def dial(self, address: str) -> None:
        """Make the mesh of the node at an address and ours one."""
        await self._contacts.dial(address)

    async def hangup(self, name: str) -> None:
        """Drop the connection to a node, and keep away from it."""
        await self._contacts.hangup(self._member(name))

    async def links(self) -> Sequence[Link]:
        """The connections of this node, not those of sessions that only introduce others for a moment (`dial`)."""
        named = [(self._membership.name_of(link.id) or link.certificate, link.far) for link in self._links.values()]
        return tuple(Link(self.name, name, far) for name, far in named if name not in ("", self.name))

    async def close(self) -> None:
        """Leave; calls that run end LOST."""
        await self._keeper.close()
        self.down()
        await self._beside.channel.close()
        for queue in self._queues:
            queue.put_nowait(None)

    # what contacts need

    async def notify(self, member: Member, service: str, payload: bytes) -> bool:
        """Tell a node something, member or not; whether it heard."""
        number = next(self._numbers)
        call = self._calls[number] = Call({member.name: member.id})
        timer = asyncio.get_running_loop().call_later(_NOTIFY_S, call.expire, _NOTIFY_S)
        try:
            self._ask(number, {member.name: member.id}, service, payload, _NOTIFY_S)
            return (await call.take()).ending is Ending.DONE
        finally:
            timer.cancel()
            del self._calls[number]

    def tell(self, events: Sequence[MemberEvent]) -> None:
        """Members came or went."""
        for event in events:
            if not event.joined:
                self._answering.lost(event.member.name)
                for call in self._calls.values():
                    call.went(event.member.id)
            for queue in self._queues:
                queue.put_nowait(event)

    # what the keeper of the engine needs

    async def begin(self, standing: Standing, host: str) -> None:
        """An engine is about to start, or none will."""
        self._answering.trust = standing.trust
        self._membership.must_prove = standing.security == "tls" and self._plan.mode == "clique"
        if not standing.is_but_for_revocations(self._standing):
            await self._beside.replace(standing.make_channel())
        self._standing = standing
        self._shun()
        if host:
            self._beside.channel.listen(host, self._plan.port + SIDE_PORT)

    def _shun_soon(self) -> None:
        # Not at once: who is revoked is told so, by whoever revokes it, before it is no member any more.
        asyncio.get_running_loop().call_soon(self._shun)

    def _shun(self) -> None:
        """Nodes whose certificates count no more are no members, though the engine may meet them yet."""
        self.tell(self._membership.deny(self._plan.standings.now().denied))

    def busy(self) -> bool:
        """Whether calls run that would be missed."""
        return any(not call.renewed for call in self._calls.values()) or self._answering.busy

    def linked(self) -> bool:
        """Whether there is a connection to anybody."""
        return bool(self._links)

    def peers(self) -> Sequence[str]:
        """The names of the others."""
        return [member.name for member in self._membership.members() if not member.doubled]

    def down(self) -> None:
        """The engine is gone, and with it all it carried."""
        self._links.clear()
        self._answering.stop()
        self.tell(self._membership.clear())
        for call in self._calls.values():
            call.abandon("the mesh engine of this host was lost")

    # what the engine says

    def _send(self, frame: frames.ToEngine) -> None:
        self._keeper.send(frame)

    def hear(self, frame: frames.FromEngine) -> None:
        """Take what the engine said."""
        try:
            self._take(frame)
        except MegaError as error:
            _log.warning("mesh: %s", chain_text(error))

    def _take(self, frame: frames.FromEngine) -> None:
        match frame:
            case frames.Replied(number, identity, payload) if number in self._calls:
                self._calls[number].replied(identity, wire.read_reply(payload))
            case frames.Finished(number, name) if number in self._calls:
                self._calls[number].finished(name)
            case frames.Asked(query, payload):
                self._answering.asked(query, payload)
            case frames.Sent(query):
                self._answering.sent(query)
            case _:
                self._meet(frame)

    def _meet(self, frame: frames.FromEngine) -> None:
        match frame:
            case frames.Opened(identity):
                self._answering.id = identity
            case frames.Token(name, identity, address, alive):
                self._sign(Member(name, identity, address), alive=alive)
            case frames.LinkSeen():
                self._linked(frame)
            case _:
                pass  # for a call that is over

    def _sign(self, member: Member, *, alive: bool) -> None:
        if alive:
            self.tell(self._membership.came(member))
            self._contacts.came(member)
        else:
            self.tell(self._membership.went(member.id))
            self._beside.channel.lost(member)

    def _linked(self, link: frames.LinkSeen) -> None:
        key = (link.id, link.near, link.far)
        if not link.up:
            self._links.pop(key, None)
            return
        self._links[key] = link
        if link.certificate:
            self.tell(self._membership.proved(link.id, link.certificate))
