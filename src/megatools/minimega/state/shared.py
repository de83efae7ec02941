"""What all nodes of a cluster come to agree on: small records, the latest of each wins, whoever wrote it.

Features keep here what must look the same from every node (namespaces, tags of VMs on absent hosts, VMs that must not
come back, revoked nodes). A write is journaled and counts here at once; `cluster.replication` carries entries between
nodes. Merging is commutative, associative and idempotent: nodes that have seen the same entries hold the same records.

An entry's stamp is a hybrid logical clock (Kulkarni et al. 2014): wall time in milliseconds, never behind any stamp
seen, a counter, and the node's name to break ties. Removed records stay as tombstones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from megatools.hostkit.errors import Corrupt
from megatools.minimega.state.journal import Journal, Put, decode

KIND = "shared"
_REMOVED = msgspec.Raw(b"null")
T = TypeVar("T")


class Stamp(msgspec.Struct, frozen=True, order=True, array_like=True):
    """When an entry was written; `time_ms` since the epoch."""

    time_ms: int
    count: int
    node: str


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


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Shared:
    """The shared records as this node knows them."""

    def __init__(self, journal: Journal, node: str, now_ms: Callable[[], int] = _wall_ms) -> None:
        self._journal = journal
        self._node = node
        self._now_ms = now_ms
        self._entries: dict[tuple[str, str], Entry] = {}
        self._latest = Stamp(0, 0, node)
        self._watchers: dict[str, list[Callable[[str], None]]] = {}
        self._carriers: list[Callable[[Sequence[Entry]], None]] = []

    def recover(self) -> None:
        """Read back what an earlier daemon knew."""
        for record in self._journal.read(KIND):
            entry = decode(record, Entry)
            self._entries[entry.kind, entry.id] = entry
            self._latest = max(self._latest, entry.stamp)

    def get(self, kind: str, id: str, type: type[T]) -> T | None:
        """A record, or None when there is none."""
        entry = self._entries.get((kind, id))
        return None if entry is None or entry.removed else _decoded(entry, type)

    def all(self, kind: str, type: type[T]) -> Mapping[str, T]:
        """The records of a kind by id."""
        return {
            entry.id: _decoded(entry, type)
            for entry in self._entries.values()
            if entry.kind == kind and not entry.removed
        }

    async def put(self, kind: str, id: str, value: msgspec.Struct) -> None:
        """Write a record; returns once it is journaled here."""
        await self._write(kind, id, msgspec.Raw(msgspec.json.encode(value)))

    async def remove(self, kind: str, id: str) -> None:
        """Remove a record, if there is one."""
        if (kind, id) in self._entries and not self._entries[kind, id].removed:
            await self._write(kind, id, _REMOVED)

    async def merge(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Take entries of other nodes; returns those that were news here."""
        news: dict[tuple[str, str], Entry] = {}
        for entry in entries:
            key = (entry.kind, entry.id)
            known = news.get(key) or self._entries.get(key)
            if known is None or entry.stamp > known.stamp:
                news[key] = entry
        await self._keep(list(news.values()))
        return list(news.values())

    def entries(self) -> Sequence[Entry]:
        """Everything, tombstones included."""
        return list(self._entries.values())

    def watch(self, kind: str, callback: Callable[[str], None]) -> None:
        """Be told the id of each record of a kind that changed, by whomever."""
        self._watchers.setdefault(kind, []).append(callback)

    def carry(self, callback: Callable[[Sequence[Entry]], None]) -> None:
        """Be told of entries written here, to carry them to other nodes."""
        self._carriers.append(callback)

    async def _write(self, kind: str, id: str, body: msgspec.Raw) -> None:
        entry = Entry(kind, id, self._next(), body)
        await self._keep([entry])
        for carrier in self._carriers:
            carrier([entry])

    def _next(self) -> Stamp:
        now = self._now_ms()
        latest = self._latest
        ahead = now > latest.time_ms
        self._latest = Stamp(now, 0, self._node) if ahead else Stamp(latest.time_ms, latest.count + 1, self._node)
        return self._latest

    async def _keep(self, entries: Sequence[Entry]) -> None:
        await self._journal.write(*(Put(KIND, f"{entry.kind}/{entry.id}", "", entry) for entry in entries))
        changed: list[Entry] = []
        for entry in entries:
            self._latest = max(self._latest, Stamp(entry.stamp.time_ms, entry.stamp.count, self._node))
            known = self._entries.get((entry.kind, entry.id))
            if known is None or entry.stamp > known.stamp:  # another may have come while the journal wrote
                self._entries[entry.kind, entry.id] = entry
                changed.append(entry)
        for entry in changed:
            for callback in self._watchers.get(entry.kind, ()):
                callback(entry.id)


def _decoded(entry: Entry, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(entry.body, type=kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f'shared record "{entry.kind}/{entry.id}" is unreadable') from error
