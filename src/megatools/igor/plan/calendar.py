"""The calendar of a cluster as bit masks: which nodes are taken when, and when so many are free together. Pure.

Bit i of a mask stands for node number i. Live reservations never share a node at the same time, which makes one sweep
over time enough for the earliest start: what is taken in [t, t+d) is what is taken at t (kept up by xor as reservations
start and end) or by one that starts inside (t, t+d) (a queue ordered by start, whose union costs one `or` a member).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import msgspec


class Booking(msgspec.Struct, frozen=True, gc=False):
    """What one reservation takes: nodes from `start_s` (included) to `end_s` (not).

    `yields`: a best-effort one; `active`: it holds its nodes now, even past its end, and its start is 0 (a clock that
    was set back must not make its nodes look free).
    """

    id: int
    name: str
    start_s: int
    end_s: int
    mask: int
    yields: bool = False
    waiting: bool = False
    active: bool = False


class Wish(msgspec.Struct, frozen=True):
    """What is wanted: all nodes of `named`, or (named 0) any `count` nodes, for `duration_s`, not before `from_s`.

    `allowed` holds the nodes that may be used at all; `takes`: best-effort reservations are no obstacle.
    """

    duration_s: int
    from_s: int
    allowed: int
    count: int = 0
    named: int = 0
    contiguous: bool = False
    takes: bool = True


class Slot(msgspec.Struct, frozen=True):
    """A time and nodes that fulfil a wish."""

    start_s: int
    mask: int


def obstacles(bookings: Iterable[Booking], wish: Wish, but: Collection[int] = ()) -> list[Booking]:
    """The bookings that can stand in a wish's way, those with ids in `but` left out."""
    from_s, takes, relevant = wish.from_s, wish.takes, wish.named or wish.allowed
    return [
        one
        for one in bookings
        if one.end_s > from_s and one.mask & relevant and not (takes and one.yields) and one.id not in but
    ]


def taken(bookings: Iterable[Booking], start_s: int, end_s: int) -> int:
    """The nodes that are taken at any moment of [start_s, end_s)."""
    mask = 0
    for one in bookings:
        if one.start_s < end_s and one.end_s > start_s:
            mask |= one.mask
    return mask


def openings(bookings: Iterable[Booking], wish: Wish) -> Iterator[tuple[int, int]]:
    """Every time from `from_s` on when a wish can start, earliest first, with the nodes that are free for it.

    Times at which nothing changes for the better are left out: after the first one, a start is the end of a booking.
    """
    if wish.named:
        yield from _named_openings(bookings, wish)
        return
    ways = sorted(bookings, key=lambda one: one.start_s)
    by_end = sorted(ways, key=lambda one: one.end_s)
    window = _Window(ways, by_end, wish.duration_s)
    last = None
    for time_s in _times(wish.from_s, by_end):
        if time_s == last:
            continue
        last = time_s
        free = wish.allowed & ~window.move(time_s)
        if has_room(free, wish.count, wish.contiguous):
            yield time_s, free


def _times(from_s: int, by_end: list[Booking]) -> Iterator[int]:
    yield from_s
    for one in by_end:
        if one.end_s > from_s:
            yield one.end_s


class _Window:
    """What is taken in [t, t + duration), as t moves on."""

    def __init__(self, by_start: list[Booking], by_end: list[Booking], duration_s: int) -> None:
        self._by_start, self._by_end, self._duration_s = by_start, by_end, duration_s
        self._begun = self._over = 0  # how many have started by t, ended by t
        self._at = 0  # taken at t
        self._seen = 0  # to come, starting before t + duration: those from _begun up to here
        self._old: list[int] = []  # the first of these, the very first on top, each with the union of what is below it
        self._new = 0  # the union of the others

    def move(self, time_s: int) -> int:
        """The nodes taken at any moment of [time_s, time_s + duration); times must not go back."""
        by_start, by_end, many = self._by_start, self._by_end, len(self._by_start)
        while self._begun < many and by_start[self._begun].start_s <= time_s:
            self._at ^= by_start[self._begun].mask
            if self._begun < self._seen:
                self._leave()
            self._begun += 1
        while self._over < many and by_end[self._over].end_s <= time_s:
            self._at ^= by_end[self._over].mask
            self._over += 1
        self._seen = max(self._seen, self._begun)
        until_s = time_s + self._duration_s
        while self._seen < many and by_start[self._seen].start_s < until_s:
            self._new |= by_start[self._seen].mask
            self._seen += 1
        return self._at | self._new | (self._old[-1] if self._old else 0)

    def _leave(self) -> None:
        """The first of those to come is no longer to come."""
        if not self._old:
            union = 0
            for index in range(self._seen - 1, self._begun - 1, -1):
                union |= self._by_start[index].mask
                self._old.append(union)
            self._new = 0
        self._old.pop()


def _named_openings(bookings: Iterable[Booking], wish: Wish) -> Iterator[tuple[int, int]]:
    if wish.named & ~wish.allowed:
        return
    start_s = wish.from_s
    for one in sorted(bookings, key=lambda one: one.start_s):
        if not one.mask & wish.named or one.end_s <= start_s:
            continue
        if one.start_s >= start_s + wish.duration_s:
            yield start_s, wish.named
        start_s = max(start_s, one.end_s)
    yield start_s, wish.named


def has_room(free: int, count: int, contiguous: bool) -> bool:
    """Whether a mask holds so many nodes, in one block if they must be."""
    if free.bit_count() < count:
        return False
    return not contiguous or _blocks(free, count) != 0


def _blocks(free: int, count: int) -> int:
    """The first nodes of all blocks of `count` free nodes."""
    done = 1
    while done < count and free:
        more = min(done, count - done)
        free &= free >> more
        done += more
    return free


def first_block(free: int, count: int) -> int:
    """The first block of `count` nodes of a mask, or 0."""
    starts = _blocks(free, count)
    return ((1 << count) - 1) << ((starts & -starts).bit_length() - 1) if starts else 0


def chosen(free: int, avoid: int, count: int, contiguous: bool) -> int:
    """`count` nodes of `free`: a block if there is one, else large pieces first; none of `avoid` where possible."""
    better = free & ~avoid
    for mask in (better, free):
        block = first_block(mask, count)
        if block:
            return block
        if not contiguous and mask.bit_count() >= count:
            return _pieces(mask, count)
    return 0


def _pieces(free: int, count: int) -> int:
    runs: list[tuple[int, int]] = []  # minus the length, the first bit
    at, rest = 0, free
    while rest:
        gap = (rest & -rest).bit_length() - 1
        rest >>= gap
        length = (~rest & (rest + 1)).bit_length() - 1
        rest >>= length
        runs.append((-length, at + gap))
        at += gap + length
    mask = 0
    for minus, first in sorted(runs):
        size = min(-minus, count)
        mask |= ((1 << size) - 1) << first
        count -= size
        if not count:
            break
    return mask
