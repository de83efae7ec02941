"""Carries shared records between nodes, so that all that can reach each other hold the same ones, without a head node.

Made and started by `app`; who must know what the others know first waits for `settled`::

    a write here        -> pushed to all members at once; writes of one moment travel together
    a node comes        -> they compare what they have and trade what differs (cluster.exchange); when many come, with a
                           few at once, and with the others when no more come, or when somebody waits (`settled`): by
                           then most know the same, and one that is told so by the other need not ask itself
    now and then        -> the same with a few members taken at random, which makes good what a push missed
    this node was away  -> after a month others have forgotten what was removed: so does this node, before it is heard

A node that does not take what is pushed is not waited for: it is compared with later.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import aclosing

import msgspec

from megatools.hostkit.errors import Corrupt, MegaError, chain_text
from megatools.hostkit.tasks import Supervisor, set_within
from megatools.minimega.cluster.exchange import PATIENCE_S, SERVICE, Exchanger, Push, batches
from megatools.minimega.mesh.mesh import Ending, Mesh
from megatools.minimega.state.journal import Journal, Put, decode
from megatools.minimega.state.shared import TOMBSTONE_MS, Entry, Shared

_log = logging.getLogger(__name__)
_KIND, _ID = "shared-sync", "this node"
_PERIOD_S = 10.0
_FAREWELL_S = 1.0
_PARTNERS = 3
_GREETED_AT_ONCE = 3
"""What the first have told need not be asked of the others; one that hangs holds up nobody else."""

_AT_ONCE = 3
_CALM_S, _LONGEST_CALM_S, _TURN_S = 0.25, 1.0, 0.15
_TOGETHER_S = 0.02
_UNANSWERED = 4
_NOTE_EACH_MS = 600_000


class Synced(msgspec.Struct, frozen=True):
    """Journal kind `shared-sync`: this node knew all that the cluster knew from `since_ms` to `last_ms`.

    `stale_ms`: when it last did before it was away for too long, until it met somebody who was there all the time.
    """

    since_ms: int = 0
    last_ms: int = 0
    stale_ms: int = 0


class Replication:
    """This node's part in keeping shared records the same everywhere."""

    def __init__(self, mesh: Mesh, shared: Shared, journal: Journal, supervisor: Supervisor) -> None:
        self._mesh = mesh
        self._shared = shared
        self._journal = journal
        self._supervisor = supervisor
        self._exchanger = Exchanger(mesh, shared)
        self._met: dict[str, asyncio.Future[bool]] = {}  # nodes that are there, and whether we have their records
        self._greeters = asyncio.Semaphore(_GREETED_AT_ONCE)
        self._wanted: dict[str, asyncio.Event] = {}
        self._came_s = 0.0
        self._hurried_s = -_LONGEST_CALM_S
        self._at_once_s: deque[float] = deque(maxlen=_AT_ONCE)  # when nodes came that were not left to wait
        self._behind: set[str] = set()
        self._unanswered: Counter[str] = Counter()
        self._fresh: dict[tuple[str, str], Entry] = {}
        self._written = asyncio.Event()
        self._random = random.Random()
        self._synced = Synced()
        self.company = asyncio.Event()  # somebody else was there

    def start(self) -> None:
        """Serve, listen and carry, until the supervisor ends."""
        self._recall()
        self._exchanger.alike = self._alike
        self._shared.carry(self._note)
        self._mesh.serve(SERVICE, self._exchanger.serve)
        self._supervisor.keep("shared records: members", self._listen)
        self._supervisor.keep("shared records: push", self._push)
        self._supervisor.keep("shared records: compare", self._compare)

    async def settled(self, node: str = "", *, timeout_s: float = PATIENCE_S, hurry: bool = True) -> bool:
        """Wait until this node has what a node knew when it came, or what all nodes knew that are there.

        False when that did not work within the time. Without `hurry`, many that come at once are given a moment to meet
        before they compare what they know.
        """
        await asyncio.sleep(0)  # who has just come back is heard of first
        self._look()
        if hurry:
            self.hurry(node)
        waiting = [met for name, met in self._met.items() if node in ("", name)]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=timeout_s)
            return not late and all(met.result() for met in waiting)
        return not node or node == self._mesh.name

    def hurry(self, node: str = "") -> None:
        """Somebody waits until a node, or all that are there or come within a moment, have been compared with."""
        if not node:
            self._hurried_s = asyncio.get_running_loop().time()
        for name, wanted in self._wanted.items():
            if node in ("", name):
                wanted.set()

    async def tell(self, entries: Sequence[Entry]) -> None:
        """Send records to everybody who is there, and wait until they have them, a moment at most."""
        members = [member.name for member in self._mesh.members() if not member.doubled]
        if not members or not entries:
            return
        with contextlib.suppress(TimeoutError):  # who does not hear it now compares later, or with others
            async with asyncio.timeout(_FAREWELL_S):
                for batch in batches(entries):
                    await self._send(members, batch)

    # ---- members

    async def _listen(self) -> None:
        async with aclosing(self._mesh.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.joined:
                    self._meet(event.member.name)
                else:
                    self._part(event.member.name)

    def _look(self) -> None:
        """Compare notes: a member may be there before its event is read."""
        present = [member.name for member in self._mesh.members() if not member.doubled]
        for name in present:
            if name not in self._met:
                self._meet(name)
        for name in set(self._met).difference(present):
            self._part(name)

    def _meet(self, node: str) -> None:
        before = self._met.get(node)
        if before is None or before.done():
            self.company.set()
            self._met[node] = asyncio.get_running_loop().create_future()
            self._wanted[node] = asyncio.Event()
            self._came_s = now_s = asyncio.get_running_loop().time()
            if self._is_urgent(now_s):
                self._at_once_s.append(now_s)
                self._wanted[node].set()
            self._unanswered.pop(node, None)
            greeting = self._greet(node, self._met[node], self._wanted[node])
            self._supervisor.start(f"shared records: meet {node}", greeting)

    def _is_urgent(self, now_s: float) -> bool:
        """Always among few nodes: they may part again soon, and should know each other's clocks by then."""
        if now_s - self._hurried_s < _LONGEST_CALM_S or len(self._met) <= _AT_ONCE:
            return True
        return len(self._at_once_s) < _AT_ONCE or now_s - self._at_once_s[0] > _LONGEST_CALM_S

    def _part(self, node: str) -> None:
        self._wanted.pop(node, None)
        met = self._met.pop(node, None)
        if met is not None and not met.done():
            met.set_result(False)

    async def _greet(self, node: str, met: asyncio.Future[bool], wanted: asyncio.Event) -> None:
        done = False
        try:
            await self._calm(node, wanted)
            async with self._greeters:
                done = await self._exchange(node, alike=met.done())
        finally:  # who waits to be served must not wait for what has failed
            if not met.done():
                met.set_result(done)

    async def _calm(self, node: str, wanted: asyncio.Event) -> None:
        """Wait until no more nodes come, not too long, or until somebody waits for this one; one end goes first."""
        loop = asyncio.get_running_loop()
        turn_s = 0.0 if self._mesh.name < node else _TURN_S
        latest_s = loop.time() + _LONGEST_CALM_S
        while not wanted.is_set():
            left_s = min(self._came_s + _CALM_S, latest_s) + turn_s - loop.time()
            if left_s <= 0:
                return
            await set_within(wanted, left_s)

    def _alike(self, node: str) -> None:
        """A node that came compared with us and found no difference: we need not."""
        met = self._met.get(node)
        if met is not None and not met.done() and not self._synced.stale_ms:
            met.set_result(True)
            self._wanted[node].set()

    async def _exchange(self, node: str, *, alike: bool = False) -> bool:
        try:
            complete = not alike and await self._exchanger.exchange(node)
            await self._remember(complete=complete)
        except MegaError as error:
            _log.info('records of "%s": %s; compared again later', node, chain_text(error))
            self._behind.add(node)
            return False
        self._behind.discard(node)
        return True

    # ---- now and then

    async def _compare(self) -> None:
        await asyncio.sleep(0)  # the listener is in place: nobody comes unseen
        while True:
            self._look()
            there = sorted(name for name, met in self._met.items() if met.done())
            chosen = {*self._random.sample(there, min(_PARTNERS, len(there))), *self._behind.intersection(there)}
            self._behind.intersection_update(self._met)
            async with asyncio.TaskGroup() as group:
                for node in chosen:
                    group.create_task(self._exchange(node))
            try:
                await self._shared.collect()
            except MegaError as error:
                _log.info("removed records: %s; collected later", chain_text(error))
            await asyncio.sleep(_PERIOD_S)

    # ---- what is written here

    def _note(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._fresh[entry.kind, entry.id] = entry
        self._written.set()

    async def _push(self) -> None:
        """Send what was written since the last time to everybody; nobody is waited for before the next portion."""
        while True:
            await self._written.wait()
            self._written.clear()
            fresh, self._fresh = list(self._fresh.values()), {}
            members = [member.name for member in self._mesh.members() if not member.doubled]
            slow = {name for name in members if self._unanswered[name] >= _UNANSWERED}
            self._behind |= slow
            targets = [name for name in members if name not in slow]
            for batch in batches(fresh) if targets else ():
                self._unanswered.update(targets)
                self._supervisor.start("shared records: send", self._send(targets, batch))
            await asyncio.sleep(_TOGETHER_S)

    async def _send(self, targets: Sequence[str], batch: tuple[Entry, ...]) -> None:
        message = msgspec.json.encode(Push(batch))
        async for arrival in self._mesh.call(targets, SERVICE, message, timeout_s=PATIENCE_S):
            if arrival.ending is None:
                continue
            self._unanswered[arrival.host] -= 1
            if arrival.ending is not Ending.DONE:
                self._behind.add(arrival.host)

    # ---- away for long

    def _recall(self) -> None:
        """How long this node was away: past the life of tombstones, what it alone still has is no longer meant."""
        now_ms = self._shared.clock.now_ms()
        for record in self._journal.read(_KIND):
            try:
                self._synced = decode(record, Synced)
            except Corrupt as error:
                _log.error("%s", error)
        if self._synced.last_ms and now_ms - self._synced.last_ms > TOMBSTONE_MS:
            self._synced = Synced(stale_ms=self._synced.stale_ms or self._synced.last_ms)
        self._tell_exchanger()

    async def _remember(self, *, complete: bool) -> None:
        known, now_ms = self._synced, self._shared.clock.now_ms()
        stale_ms = 0 if complete else known.stale_ms
        if stale_ms == known.stale_ms and known.since_ms and now_ms - known.last_ms < _NOTE_EACH_MS:
            return
        synced = Synced(known.since_ms or now_ms, now_ms, stale_ms)
        await self._journal.write(Put(_KIND, _ID, "", synced))
        self._synced = synced
        self._tell_exchanger()

    def _tell_exchanger(self) -> None:
        self._exchanger.since_ms, self._exchanger.stale_ms = self._synced.since_ms, self._synced.stale_ms
