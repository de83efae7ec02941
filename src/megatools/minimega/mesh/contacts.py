"""Whom this node connects to of its own accord, and whom it keeps away from.

Used by `mesh.clique`. Zenoh connects to whomever it finds, and cannot be told not to; so a node that was hung up on is
cut off again each time it appears, after a moment in which it may say that somebody dialled us there::

    hangup NAME    tell it (it hides us), hide it, cut
    it appears     wait, and unless it was dialled meanwhile: tell it, cut
    dial HOST      at either end: forget the hang-up, connect, tell the other
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from megatools.hostkit.errors import InvalidInput, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import frames, wire
from megatools.minimega.mesh.engine_config import guest_config
from megatools.minimega.mesh.engine_keeper import EngineKeeper
from megatools.minimega.mesh.membership import Membership
from megatools.minimega.mesh.mesh import Caller, Member, MemberEvent
from megatools.minimega.mesh.peer_book import PeerBook
from megatools.minimega.mesh.plan import SIDE_PORT, MeshPlan
from megatools.minimega.mesh.scouting import endpoints, with_port

_log = logging.getLogger(__name__)
_DIAL_S = 20.0
_EVERY_S = 5.0
_GRACE_S = 0.5
_TOKEN_S = 3.0
_HUNG, _DIALLED = b"1", b"0"
_COMPARE = "compare the contexts: mesh status"


class Owner(Protocol):
    """What contacts need of the mesh they belong to."""

    async def notify(self, member: Member, service: str, payload: bytes) -> bool:
        """Tell a node something, member or not; whether it heard."""
        ...

    def tell(self, events: Sequence[MemberEvent]) -> None:
        """Members came or went."""
        ...


class Contacts:
    """One node's wishes about its connections."""

    def __init__(
        self, plan: MeshPlan, keeper: EngineKeeper, membership: Membership, supervisor: Supervisor, owner: Owner
    ) -> None:
        self._plan = plan
        self._keeper = keeper
        self._membership = membership
        self._supervisor = supervisor
        self._owner = owner
        self._book = PeerBook(plan.peers)
        self._hung: set[str] = set()  # names we hung up on
        self._away: set[str] = set()  # ids of engines that hung up on us
        self._awaited: dict[str, asyncio.Event] = {}

    async def redial(self) -> None:
        """Dial nodes that were met and are not there, again and again."""
        while True:
            await asyncio.sleep(_EVERY_S)
            self._meet(self._membership.members())
            self._book.save()
            if self._keeper.settings is None or self._plan.hubs:  # clients of hubs find these by themselves
                continue
            present = {self._plan.name, *self._hung} | {member.name for member in self._membership.members()}
            for address in self._book.due(present, time.time()):
                outcome = await self._dial(with_port(address, self._plan.port))
                _log.info("mesh: dialled %s again: %s", address, outcome.error or "connected")

    async def dial(self, address: str) -> None:
        """Connect to the mesh at an address, forgetting that we hung up. Raises InvalidInput, Unavailable."""
        where = with_port(address, self._plan.port)
        settings = self._keeper.settings
        if settings is not None and where == settings.listen:
            raise InvalidInput("cannot mesh dial yourself")
        for name in [name for name in self._hung if self._is_at(name, where)]:
            self._take_back(name)
        outcome = await self._dial(where)
        if outcome.error:
            is_foreign = outcome.error.endswith(frames.ANOTHER_MESH)
            raise Unavailable(outcome.error, hint=_COMPARE if is_foreign else self._keeper.standing.hint)
        member = await self._behind(outcome.id)
        if member is None:
            await self._keeper.outcome(lambda ticket: frames.Cut(ticket, outcome.id), timeout_s=_DIAL_S)
            raise Unavailable(f'"{address}" does not show itself as a member', hint=_COMPARE)
        self._take_back(member.name)
        await self._owner.notify(member, wire.HANGUP, _DIALLED)

    async def hangup(self, member: Member) -> None:
        """Drop the connection to a node, and keep away from it."""
        self._hung.add(member.name)
        await self._keep_away(member)

    def came(self, member: Member) -> None:
        """An engine showed itself."""
        if member.id in self._awaited:
            self._awaited[member.id].set()
        self._meet(self._membership.get(member.name))
        if member.name in self._hung:
            self._supervisor.start(f"keep away from {member.name}", self._refuse(member))

    def heard(self, caller: Caller, payload: bytes) -> None:
        """A node hung up on us, or was dialled."""
        found = {member.id for member in self._membership.all_called(caller.name)}
        if payload == _HUNG:
            self._away |= found
        else:
            self._away -= found
            self._hung.discard(caller.name)
        self._hide()

    def _meet(self, members: Sequence[Member]) -> None:
        for member in members:
            if not member.doubled:
                self._book.met(member.name, self._engine_of(member), time.time())

    def _take_back(self, name: str) -> None:
        self._hung.discard(name)
        self._away -= {member.id for member in self._membership.all_called(name)}
        self._hide()

    def _hide(self) -> None:
        self._owner.tell(self._membership.hide(self._hung, self._away))

    async def _refuse(self, member: Member) -> None:
        await asyncio.sleep(_GRACE_S)
        if member.name in self._hung:
            await self._keep_away(member)

    async def _keep_away(self, member: Member) -> None:
        await self._owner.notify(member, wire.HANGUP, _HUNG)
        self._hide()
        outcome = await self._keeper.outcome(lambda ticket: frames.Cut(ticket, member.id), timeout_s=_DIAL_S)
        if outcome.error:
            _log.warning("mesh: hanging up on %s: %s", member.name, outcome.error)

    async def _dial(self, where: str) -> frames.Outcome:
        settings = self._keeper.settings
        if settings is None:
            return frames.Outcome(0, f"the mesh is not up: {self._keeper.trouble}")
        (endpoint,) = endpoints([where], settings.protocol)
        (own,) = endpoints([settings.listen], settings.protocol)
        look, join = guest_config(settings, endpoint), guest_config(settings, own, endpoint)
        return await self._keeper.outcome(lambda ticket: frames.Dial(ticket, endpoint, look, join), timeout_s=_DIAL_S)

    async def _behind(self, identity: str) -> Member | None:
        """Who has an engine, once its sign of life is there."""
        if (member := self._membership.behind(identity)) is not None:
            return member
        awaited = self._awaited[identity] = asyncio.Event()
        try:
            async with asyncio.timeout(_TOKEN_S):
                await awaited.wait()
        except TimeoutError:
            return None
        finally:
            self._awaited.pop(identity, None)
        return self._membership.behind(identity)

    def _is_at(self, name: str, where: str) -> bool:
        return any(self._engine_of(member) == where for member in self._membership.all_called(name))

    def _engine_of(self, member: Member) -> str:
        """The address of a node's engine, from that of its side channel."""
        host, _, port = member.address.rpartition(":")
        return f"{host}:{int(port) - SIDE_PORT}"
