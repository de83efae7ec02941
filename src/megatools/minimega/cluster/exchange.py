"""How two nodes find out which shared records one has and the other lacks, and trade them; the messages and both ends.

Used by `cluster.replication`. Cheap when there is nothing to do: one sum each way. Else::

    Compare(root)            -> Comparison(sums of all buckets)     which buckets differ
    ListBuckets(numbers)     -> Headings: names and stamps          who has the later of each
    Push(records)            ->                                     they have the later ones
    Fetch(names)             -> Push from the other side            we have the later ones

Records are never taken from an answer: what a node sends as a request it has signed, and those that are limited may
write little (`_may_write`).

Messages are JSON on service `shared`; lists are cut so that no message grows past a few hundred kilobytes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from typing import TypeAlias, TypeVar

import msgspec

from megatools.hostkit.errors import ProtocolError, Unavailable
from megatools.minimega.mesh.mesh import Caller, Ending, Mesh, Role
from megatools.minimega.state.digest import BUCKETS
from megatools.minimega.state.shared import Entry, Shared
from megatools.minimega.state.stamps import ZERO, Stamp

_log = logging.getLogger(__name__)
SERVICE = "shared"
PATIENCE_S = 5.0
_BUCKETS_AT_ONCE = 32
_KEYS_AT_ONCE = 2_000
_BYTES_AT_ONCE = 256 * 1024
_SKEW_MS = 60_000
# What a node that is limited to a namespace may write, about itself.
_OWN_KINDS = frozenset({"member", "host-address"})

Key: TypeAlias = tuple[str, str]
T = TypeVar("T")


class Push(msgspec.Struct, frozen=True, tag=True):
    """Take these."""

    entries: tuple[Entry, ...]


class Compare(msgspec.Struct, frozen=True, tag=True):
    """Do we differ? `stale_ms`: when the asker last knew what the others knew, if it was away for too long.

    `now_ms` is the asker's time of day: both keep up with the clock that is ahead (`state.stamps`).
    """

    root: int
    stale_ms: int = 0
    now_ms: int = 0


class ListBuckets(msgspec.Struct, frozen=True, tag=True):
    """What is in these buckets?"""

    numbers: tuple[int, ...]


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Push me these: what comes as a request of yours is known to be from you, and you may be limited."""

    wanted: tuple[Key, ...]


Message: TypeAlias = Push | Compare | ListBuckets | Fetch


class Comparison(msgspec.Struct, frozen=True):
    """The sums of all buckets, none when the roots are equal.

    `complete` says that this node has known all that the cluster knew since the asker's `stale_ms`; `stale_ms` when
    this node last did before it was away for too long, else 0.
    """

    now_ms: int
    sums: tuple[int, ...] = ()
    complete: bool = False
    stale_ms: int = 0


class Nothing(msgspec.Struct, frozen=True):
    """The answer to `Push` and `Fetch` has no parts."""


class Headings(msgspec.Struct, frozen=True):
    """Names and stamps of records."""

    headings: tuple[tuple[str, str, Stamp], ...] = ()


class Exchanger:
    """This node's ends of exchanges.

    `since_ms` is from when on it has known all that the cluster knew, `stale_ms` when it last did before it was away
    for longer than tombstones live (0: it was not). What a node kept over such a time, and one that was there all the
    time lacks, has been removed for good: it is dropped at the former and not taken by the latter.
    """

    def __init__(self, mesh: Mesh, shared: Shared) -> None:
        self._mesh = mesh
        self._shared = shared
        self._decoder = msgspec.json.Decoder[Message](Message)
        self._skewed: set[str] = set()
        self.alike: Callable[[str], None] = lambda _: None  # told the name of a node that asked and knows what we know
        self.since_ms = 0
        self.stale_ms = 0

    # ---- the end that answers

    async def serve(self, caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        """Answer one message. Raises ProtocolError."""
        try:
            message: Message = self._decoder.decode(request)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f'"{caller.name}" sent what is no message of service "{SERVICE}"') from error
        match message:
            case Push(entries):
                await self._take(caller, entries)
            case Compare(root, stale_ms, now_ms):
                self._shared.clock.saw(Stamp(now_ms, 0, caller.name))
                same = root == self._shared.digest.root
                sums = () if same else tuple(self._shared.digest.sums)
                complete = self._complete_since(stale_ms)
                if same:
                    self.alike(caller.name)
                yield msgspec.json.encode(Comparison(self._shared.clock.now_ms(), sums, complete, self.stale_ms))
            case ListBuckets(numbers):
                keys = [
                    key for number in numbers if 0 <= number < BUCKETS for key in self._shared.digest.bucket(number)
                ]
                for part in _cut(keys, _KEYS_AT_ONCE):
                    yield msgspec.json.encode(Headings(tuple(self._headings(part))))
            case Fetch(wanted):
                await self._push(caller.name, self._entries(wanted))

    async def _take(self, caller: Caller, entries: Sequence[Entry]) -> None:
        await self._shared.merge(entry for entry in entries if _may_write(caller, entry))

    # ---- the end that asks

    async def exchange(self, node: str) -> bool:
        """Come to know what a node knows, and let it know what we know; returns whether it was complete.

        Raises Unavailable.
        """
        complete = False
        request = Compare(self._shared.digest.root, self.stale_ms, self._shared.clock.now_ms())
        for comparison in await self._ask(node, request, Comparison):
            self._mind_clock(node, comparison.now_ms)
            complete = comparison.complete
            keep_from_ms = request.stale_ms if complete else 0
            take_from_ms = comparison.stale_ms if self._complete_since(comparison.stale_ms) else 0
            ours = self._shared.digest.sums
            differ = [number for number, sum_ in enumerate(comparison.sums) if sum_ != ours[number]]
            for numbers in _cut(differ, _BUCKETS_AT_ONCE):
                await self._level(node, numbers, keep_from_ms, take_from_ms)
        return complete

    def _complete_since(self, moment_ms: int) -> bool:
        return 0 < self.since_ms <= moment_ms

    async def _level(self, node: str, numbers: Sequence[int], keep_from_ms: int, take_from_ms: int) -> None:
        answer = await self._ask(node, ListBuckets(tuple(numbers)), Headings)
        theirs = {(kind, id): stamp for part in answer for kind, id, stamp in part.headings}
        mine = {
            (kind, id): stamp
            for number in numbers
            for kind, id, stamp in self._headings(self._shared.digest.bucket(number))
        }
        wanted = [
            key
            for key, stamp in theirs.items()
            if stamp > mine.get(key, ZERO) and (key in mine or stamp.time_ms >= take_from_ms)
        ]
        given = self._entries([key for key, stamp in mine.items() if stamp > theirs.get(key, ZERO)])
        gone = [entry for entry in given if entry.stamp.time_ms < keep_from_ms and (entry.kind, entry.id) not in theirs]
        if gone:
            _log.warning('%d records that "%s" no longer has were removed while this node was away', len(gone), node)
            await self._shared.drop(gone)
            given = [entry for entry in given if entry not in gone]
        await self._push(node, given)
        for keys in _cut(wanted, _KEYS_AT_ONCE):
            await self._ask(node, Fetch(tuple(keys)), Nothing)

    async def _push(self, node: str, entries: Sequence[Entry]) -> None:
        """Give a node records. Raises Unavailable."""
        for batch in batches(entries):
            await self._ask(node, Push(batch), Nothing)

    async def _ask(self, node: str, message: Message, kind: type[T]) -> list[T]:
        """The parts of a node's answer. Raises Unavailable, ProtocolError."""
        parts: list[T] = []
        request = msgspec.json.encode(message)
        async for arrival in self._mesh.call([node], SERVICE, request, timeout_s=PATIENCE_S):
            if arrival.ending is None:
                try:
                    parts.append(msgspec.json.decode(arrival.payload, type=kind))
                except msgspec.MsgspecError as error:
                    raise ProtocolError(f'"{node}" answered what is no {kind.__name__}') from error
            elif arrival.ending is not Ending.DONE:
                raise Unavailable(f'cannot compare records with "{node}": {arrival.error or arrival.ending}')
        return parts

    def _headings(self, keys: Collection[Key]) -> Iterator[tuple[str, str, Stamp]]:
        for entry in self._entries(keys):
            yield entry.kind, entry.id, entry.stamp

    def _entries(self, keys: Collection[Key]) -> list[Entry]:
        found = (self._shared.entry(kind, id) for kind, id in keys)
        return [entry for entry in found if entry is not None]

    def _mind_clock(self, node: str, now_ms: int) -> None:
        """Keep up with a clock that is ahead; say once that one is off, and once that it no longer is."""
        self._shared.clock.saw(Stamp(now_ms, 0, node))
        skew_ms = now_ms - self._shared.clock.now_ms()
        if abs(skew_ms) > _SKEW_MS and node not in self._skewed:
            self._skewed.add(node)
            _log.warning('the clock of "%s" differs from this node\'s by %d s', node, skew_ms // 1000)
        elif abs(skew_ms) <= _SKEW_MS and node in self._skewed:
            self._skewed.discard(node)
            _log.warning('the clock of "%s" agrees with this node\'s again', node)


def batches(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    """Entries in portions that make a message of bounded size."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += len(bytes(entry.body)) + len(entry.id) + 64
        if size >= _BYTES_AT_ONCE or len(batch) >= _KEYS_AT_ONCE:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


def _may_write(caller: Caller, entry: Entry) -> bool:
    if caller.role is not Role.FULL:
        return False
    own = entry.id.split("/", 1)[0] == caller.name and entry.kind in _OWN_KINDS
    return not caller.namespace or own


def _cut(items: Collection[T], length: int) -> Iterator[list[T]]:
    listed = list(items)
    for start in range(0, len(listed), length):
        yield listed[start : start + length]
