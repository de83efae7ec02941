"""What all nodes of a cluster come to agree on: small records, the latest of each wins, whoever wrote it.

Features keep here what must look the same from every node (namespaces, tags of VMs on absent hosts, VMs that must not
come back, revoked nodes). A write is journaled and counts here at once; `cluster.replication` carries entries between
nodes. Merging is commutative, associative and idempotent: nodes that have seen the same entries hold the same records.

An entry passes through here in this order, so that the journal never holds an older one than the memory::

    decided (synchronously, against the newest known) -> journal's queue -> durable -> counts -> watchers, carriers

Removed records stay as tombstones for `TOMBSTONE_MS`, by when every node that is not given up has seen them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from megatools.hostkit.errors import Corrupt, InvalidInput
from megatools.minimega.state.digest import Digest
from megatools.minimega.state.journal import Delete, Journal, Put, decode
from megatools.minimega.state.stamps import ZERO, Stamp, StampClock

_log = logging.getLogger(__name__)
KIND = "shared"
TOMBSTONE_MS = 30 * 24 * 3_600_000
MOST_TOMBSTONES = 20_000
_HOUR_MS = 3_600_000
_LARGEST = 1 << 20
_REMOVED = msgspec.Raw(b"null")
T = TypeVar("T")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A record as it was written at a moment; `null` for a body means that it was removed."""

    kind: str
    id: str
    stamp: Stamp
    body: msgspec.Raw

    @property
    def removed(self) -> bool:
        """Whether this is a tombstone."""
        return bytes(self.body) == b"null"


class Shared:
    """The shared records as this node knows them."""

    def __init__(self, journal: Journal, clock: StampClock) -> None:
        self._journal = journal
        self.clock = clock
        self.digest = Digest()
        self._entries: dict[str, dict[str, Entry]] = {}
        self._pending: dict[tuple[str, str], tuple[Entry, asyncio.Future[None]]] = {}  # decided, not yet durable
        self._tombstones = 0
        self._watchers: dict[str, list[Callable[[str], None]]] = {}
        self._carriers: list[Callable[[Sequence[Entry]], None]] = []

    def recover(self) -> None:
        """Read back what an earlier daemon knew."""
        for record in self._journal.read(KIND):
            try:
                entry = decode(record, Entry)
            except Corrupt as error:
                _log.error("%s: left out; other nodes may still have it", error)
                continue
            self._count(entry)
            self.clock.saw(entry.stamp)

    # ---- read

    def get(self, kind: str, id: str, type: type[T]) -> T | None:
        """A record, or None when there is none."""
        entry = self.entry(kind, id)
        return None if entry is None or entry.removed else _decoded(entry, type)

    def all(self, kind: str, type: type[T]) -> Mapping[str, T]:
        """The records of a kind by id."""
        entries = self._entries.get(kind, {}).values()
        return {entry.id: _decoded(entry, type) for entry in entries if not entry.removed}

    def entry(self, kind: str, id: str) -> Entry | None:
        """A record as it was written, or its tombstone."""
        return self._entries.get(kind, {}).get(id)

    def entries(self, kind: str = "") -> Sequence[Entry]:
        """Everything, or everything of a kind, tombstones included."""
        if kind:
            return list(self._entries.get(kind, {}).values())
        return [entry for kind in self._entries.values() for entry in kind.values()]

    # ---- write

    async def put(self, kind: str, id: str, value: msgspec.Struct) -> None:
        """Write a record; returns once it is journaled here. Raises Unavailable when the disk refuses."""
        await self.put_all(kind, {id: value})

    async def put_all(self, kind: str, values: Mapping[str, msgspec.Struct | None]) -> None:
        """Write records of a kind together, all or none; None removes one, if it is there."""
        entries = [
            self._new(kind, id, _encoded(value))
            for id, value in values.items()
            if value is not None or self._is_there(kind, id)
        ]
        await self._keep(entries, ours=True)

    async def put_stamped(self, kind: str, id: str, stamp: Stamp, value: msgspec.Struct | None) -> None:
        """Write a record that counts from a stamp of elsewhere on; nothing happens if a later one is known."""
        if stamp > self._newest(kind, id):
            self.clock.saw(stamp)
            await self._keep([_checked(Entry(kind, id, stamp, _encoded(value)))], ours=True)

    async def remove(self, kind: str, id: str) -> None:
        """Remove a record, if there is one."""
        await self.put_all(kind, {id: None})

    async def merge(self, entries: Iterable[Entry]) -> Sequence[Entry]:
        """Take entries of other nodes; returns those that were news here, once all of them count here.

        Raises InvalidInput for an entry no node writes; then none is taken.
        """
        horizon = self._horizon_ms()
        news: dict[tuple[str, str], Entry] = {}
        coming: set[asyncio.Future[None]] = set()
        for entry in entries:
            known = self._newest(entry.kind, entry.id)
            if known == ZERO and entry.removed and entry.stamp.time_ms < horizon:
                continue  # collected here, about to be there
            earlier = news.get((entry.kind, entry.id))
            if _checked(entry).stamp > max(known, earlier.stamp if earlier else ZERO):
                news[entry.kind, entry.id] = entry
            elif (entry.kind, entry.id) in self._pending:
                coming.add(self._pending[entry.kind, entry.id][1])
        for entry in news.values():
            self.clock.saw(entry.stamp)
        await self._keep(list(news.values()), ours=False)
        for done in coming:
            await asyncio.shield(done)
        return list(news.values())

    async def drop(self, entries: Iterable[Entry]) -> None:
        """Forget entries without a trace, unless something newer came meanwhile."""
        gone = [entry for entry in entries if self._newest(entry.kind, entry.id) == entry.stamp]
        for entry in gone:
            self._discount(entry)
        await self._journal.write(*(Delete(KIND, _record_id(entry)) for entry in gone))

    async def collect(self) -> None:
        """Forget tombstones that everybody has seen by now, and the oldest of too many."""
        if not self._tombstones:
            return
        horizon = self._horizon_ms()
        stones = sorted((entry for entry in self.entries() if entry.removed), key=lambda entry: entry.stamp)
        surplus = len(stones) - MOST_TOMBSTONES
        old = [entry for number, entry in enumerate(stones) if entry.stamp.time_ms < horizon or number < surplus]
        if surplus > 0:
            _log.warning("more than %d removed records are remembered: %d were let go", MOST_TOMBSTONES, surplus)
        await self.drop(old)

    # ---- be told

    def watch(self, kind: str, callback: Callable[[str], None]) -> None:
        """Be told the id of each record of a kind that changed, by whomever; the callback only takes note of it."""
        self._watchers.setdefault(kind, []).append(callback)

    def carry(self, callback: Callable[[Sequence[Entry]], None]) -> None:
        """Be told of entries written here, to carry them to other nodes."""
        self._carriers.append(callback)

    # ---- inside

    def _new(self, kind: str, id: str, body: msgspec.Raw) -> Entry:
        return _checked(Entry(kind, id, self.clock.next(self._newest(kind, id)), body))

    def _decided(self, kind: str, id: str) -> Entry | None:
        pending = self._pending.get((kind, id))
        return self.entry(kind, id) if pending is None else pending[0]

    def _newest(self, kind: str, id: str) -> Stamp:
        entry = self._decided(kind, id)
        return ZERO if entry is None else entry.stamp

    def _is_there(self, kind: str, id: str) -> bool:
        entry = self._decided(kind, id)
        return entry is not None and not entry.removed

    def _horizon_ms(self) -> int:
        """Tombstones from before this moment are let go: at the same full hours everywhere."""
        return self.clock.now_ms() // _HOUR_MS * _HOUR_MS - TOMBSTONE_MS

    async def _keep(self, entries: Sequence[Entry], *, ours: bool) -> None:
        """Journal entries that were decided to be the newest; they count once that is done, even if nobody waits."""
        if not entries:
            return
        done = self._journal.begin(*(Put(KIND, _record_id(entry), "", entry) for entry in entries))
        for entry in entries:
            self._pending[entry.kind, entry.id] = entry, done
        done.add_done_callback(partial(self._kept, entries, ours))
        await asyncio.shield(done)

    def _kept(self, entries: Sequence[Entry], ours: bool, done: asyncio.Future[None]) -> None:
        for entry in entries:
            if self._pending.get((entry.kind, entry.id), (None,))[0] is entry:
                del self._pending[entry.kind, entry.id]
        if done.cancelled() or done.exception() is not None:
            return
        counted = [entry for entry in entries if self._count(entry)]
        for entry in counted:
            for callback in self._watchers.get(entry.kind, ()):
                callback(entry.id)
        if ours:
            for carrier in self._carriers:
                carrier(counted)

    def _count(self, entry: Entry) -> bool:
        known = self.entry(entry.kind, entry.id)
        if known is not None:
            if known.stamp >= entry.stamp:
                return False
            self._discount(known)
        self._entries.setdefault(entry.kind, {})[entry.id] = entry
        self.digest.add(entry.kind, entry.id, entry.stamp)
        self._tombstones += entry.removed
        return True

    def _discount(self, entry: Entry) -> None:
        if self._entries.get(entry.kind, {}).pop(entry.id, None) is not None:
            self.digest.remove(entry.kind, entry.id, entry.stamp)
            self._tombstones -= entry.removed


def _record_id(entry: Entry) -> str:
    return f"{entry.kind}/{entry.id}"


def _encoded(value: msgspec.Struct | None) -> msgspec.Raw:
    return _REMOVED if value is None else msgspec.Raw(msgspec.json.encode(value))


def _checked(entry: Entry) -> Entry:
    size = len(bytes(entry.body))
    if not entry.stamp.sane or "/" in entry.kind or size > _LARGEST:
        raise InvalidInput(
            f'shared record "{_record_id(entry)[:80]}" cannot be kept',
            hint=f"{size} bytes (limit {_LARGEST}), stamp {entry.stamp.time_ms}",
        )
    return entry


def _decoded(entry: Entry, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(entry.body, type=kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f'shared record "{entry.kind}/{entry.id}" is unreadable') from error
