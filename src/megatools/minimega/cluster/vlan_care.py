"""Keeps VLAN tables in order behind everybody's back: who decides, what was given out apart, what is over.

Started by `app`. Looks when something changed, when a node comes, and now and then; what needs more hosts than can be
reached waits until they are back::

    a host was added, removed, or lost its memory     the council is changed by decree
    this host gave out names before it met the others they are agreed on as they are, if nothing contradicts
    two tables were begun under one name              names of the one that lost stay valid here, and are agreed on too
    a namespace was destroyed                         its table and votes are forgotten
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from contextlib import aclosing

from megatools.hostkit.errors import MegaError, Unavailable, chain_text
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster.authority import Authority
from megatools.minimega.cluster.quorum import Decree
from megatools.minimega.cluster.replication import Replication
from megatools.minimega.cluster.roster import KIND as MEMBER
from megatools.minimega.cluster.vlan_table import Adopt, SetHosts, Table
from megatools.minimega.cluster.vlan_tables import KIND, VlanTables
from megatools.minimega.cluster.voting import Voting
from megatools.minimega.mesh.mesh import Mesh
from megatools.minimega.namespace.membership import KIND as SPACE

_log = logging.getLogger(__name__)
_PERIOD_S = 10.0
_TOGETHER_S = 0.2
_ALONE_S = 1.5
_TURN_S = 0.7


class VlanCare:
    """What this host does to keep the tables in order."""

    def __init__(
        self, mesh: Mesh, tables: VlanTables, voting: Voting, authority: Authority, replication: Replication
    ) -> None:
        self._mesh = mesh
        self._tables = tables
        self._voting = voting
        self._authority = authority
        self._replication = replication
        authority.when_awaited = replication.hurry
        self._wake = asyncio.Event()
        self._shown: dict[str, Decree] = {}
        self._told: set[tuple[str, str]] = set()

    def recover(self) -> None:
        """Show what an earlier daemon knew, and whatever passed by this host's vote alone."""
        self._voting.recover()
        for key in self._tables.current():
            passed = self._tables.passed(key)
            if passed is not None:
                self._shown[key] = passed
            self._tables.show(key)
        self._tables.shared.watch(KIND, self._passed)
        for kind in (MEMBER, SPACE):
            self._tables.shared.watch(kind, lambda _: self._wake.set())

    def wake(self) -> None:
        """Something changed."""
        self._wake.set()

    async def listen(self) -> None:
        """Look when a node comes, until cancelled."""
        async with aclosing(self._mesh.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.joined:
                    self._wake.set()

    def _passed(self, key: str) -> None:
        """Use what has passed at once, unless it comes from elsewhere: then nothing that was valid here may go."""
        passed, before = self._tables.passed(key), self._shown.get(key)
        if passed is None or before is None or passed.table.founded == before.table.founded:
            self._note(key, passed)
        self._wake.set()

    def _note(self, key: str, passed: Decree | None) -> None:
        if passed is None:
            self._shown.pop(key, None)
        else:
            before = self._shown.get(key)
            if passed.former is None and (before is None or before.councils != passed.councils):
                names = compress(passed.council.names)
                _log.info('the VLANs of namespace "%s" are decided by %s', self._tables.namespace_of(key), names)
            self._shown[key] = passed
        self._tables.show(key)

    async def run(self) -> None:
        """Enter this host among the members, then keep order until cancelled."""
        await self._meet()
        self._authority.ready.set()
        while True:
            self._wake.clear()
            await _guarded("members", self._enlist())
            await _guarded("numbers in use", self._tables.tell_taken())
            for key in self._tables.current():
                await _guarded(f'VLANs of "{self._tables.namespace_of(key)}"', self._order(key))
            await _guarded("destroyed namespaces", self._forget())
            try:
                async with asyncio.timeout(_PERIOD_S):
                    await self._wake.wait()
                    await asyncio.sleep(_TOGETHER_S)
            except TimeoutError:
                continue

    async def _meet(self) -> None:
        """Know who else there is: members by now, or nobody within a moment."""
        if self._mesh.status().mode == "none":
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ALONE_S):
                await self._replication.company.wait()
        await self._replication.settled(hurry=False)
        await _guarded("members", self._enlist())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ALONE_S):
                while not self._knows_all():
                    await self._wake.wait()
                    self._wake.clear()

    def _knows_all(self) -> bool:
        """Whether all who are there have entered themselves."""
        there = {member.name for member in self._mesh.members() if not member.doubled}
        return there.issubset(self._tables.roster.names())

    async def _enlist(self) -> None:
        if self._mesh.status().mode != "none":
            await self._tables.roster.enlist()

    # ---- one table

    async def _order(self, key: str) -> None:
        await self._keep_what_was_valid(key)
        if self._tables.own(key) and self._authority.decides(self._tables.namespace_of(key)):
            await self._agree_on_own(key)
        if self._is_to_change(key) and await self._is_our_turn(key):
            for _ in range(4):  # both councils agree, the former is left behind
                if not self._is_to_change(key):
                    break
                await self._authority.change(key, SetHosts(tuple(self._tables.hosts(key))))

    async def _keep_what_was_valid(self, key: str) -> None:
        passed = self._tables.passed(key)
        before = self._shown.get(key)
        if passed is None:
            return
        lost = {} if before is None else _missing(before.table, passed.table)
        if lost:
            await self._tables.vlans.keep(self._tables.namespace_of(key), lost)
        if before is None or before.ballot != passed.ballot:
            self._note(key, passed)

    async def _agree_on_own(self, key: str) -> None:
        namespace = self._tables.namespace_of(key)
        passed = self._tables.passed(key)
        agreed = {} if passed is None else passed.table.aliases
        own = self._tables.own(key)
        taken = {number: name for name, number in agreed.items()}
        apart = {name: number for name, number in own.items() if name not in agreed and number not in taken}
        if apart:
            await self._authority.change(key, Adopt(apart))
            self._wake.set()
        await self._tables.vlans.disown(namespace, [name for name in own if agreed.get(name) == own[name]])
        for name, number in own.items():
            if name not in apart and agreed.get(name) != number and (key, name) not in self._told:
                self._told.add((key, name))
                other = f"VLAN {agreed[name]} elsewhere" if name in agreed else f'"{taken[number]}" elsewhere'
                _log.error(
                    '"%s" of namespace "%s" is VLAN %d on this host, which is %s: both were given out before the hosts '
                    "met, and both stay; `clear vlans %s` here takes what the others have",
                    name,
                    namespace,
                    number,
                    other,
                    name,
                )

    # ---- who decides

    def _is_to_change(self, key: str) -> bool:
        passed = self._tables.passed(key)
        if passed is None or not self._authority.decides(self._tables.namespace_of(key)):
            return False
        lives = self._tables.roster.ids()
        stale = any(seat.id and lives.get(seat.name, seat.id) != seat.id for seat in passed.council.seats)
        return passed.former is not None or set(passed.council.names) != set(self._tables.hosts(key)) or stale

    async def _is_our_turn(self, key: str) -> bool:
        """One host after the other, the owner first, until somebody has done it."""
        council = self._tables.council(key)
        there = {member.name for member in self._mesh.members()} | {self._mesh.name}
        able = [name for name in sorted(council.names, key=lambda name: (name != council.owner, name)) if name in there]
        if self._mesh.name not in able:
            able = [*able, *sorted(name for name in self._tables.hosts(key) if name in there)]
        if self._mesh.name not in able:
            return False
        await asyncio.sleep(_TURN_S * able.index(self._mesh.name))
        return self._is_to_change(key)

    # ---- what is over

    async def _forget(self) -> None:
        tables = self._tables
        for key in list(self._voting.keys()):
            if tables.is_over(key):
                await self._voting.forget(key)
        over = [entry.id for entry in tables.shared.entries(KIND) if not entry.removed and tables.is_over(entry.id)]
        for key in over:
            self._shown.pop(key, None)
            tables.show(key)
        await tables.shared.put_all(KIND, dict.fromkeys(over))


async def _guarded(what: str, step: Coroutine[object, object, None]) -> None:
    try:
        await step
    except Unavailable as error:
        _log.info("%s: %s; tried again later", what, chain_text(error))
    except MegaError as error:
        _log.warning("%s: %s; tried again later", what, chain_text(error))


def _missing(table: Table, other: Table) -> dict[str, int]:
    """What a table that was begun elsewhere has given out, and the other has not."""
    if table.founded == other.founded:
        return {}
    return {name: number for name, number in table.aliases.items() if other.aliases.get(name) != number}
