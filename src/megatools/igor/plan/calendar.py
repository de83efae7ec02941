"""The calendar of a cluster as bit masks: which nodes are taken when, and when so many are free together. Pure.

Bit i of a mask stands for node number i. Live reservations never share a node at the same time, which makes one sweep
over time enough for the earliest start: what is taken in [t, t+d) is what is taken at t (kept up by xor as reservations
start and end) or by one that starts inside (t, t+d) (a queue ordered by start, whose union costs one `or` a member).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from operator import attrgetter, or_

import msgspec

_START, _END = attrgetter("start_s"), attrgetter("end_s")


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
    from_s, takes, named = wish.from_s, wish.takes, wish.named
    return [
        one
        for one in bookings
        if one.end_s > from_s and (not named or one.mask & named) and not (takes and one.yields) and one.id not in but
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
    yield from _named_openings(bookings, wish) if wish.named else _swept(list(bookings), wish)


def _swept(bookings: list[Booking], wish: Wish) -> Iterator[tuple[int, int]]:
    """One step per end of a booking; a thousand of them take a millisecond or two, so everything is at hand."""
    by_end = sorted(bookings, key=_END)
    bookings.sort(key=_START)
    starts, masks, many = [one.start_s for one in bookings], [one.mask for one in bookings], len(bookings)
    ends, end_masks = [one.end_s for one in by_end], [one.mask for one in by_end]
    begun = over = seen = 0  # how many have started by now, ended by now, start before now + duration
    at = new = 0  # taken now; taken by those to come that are not in `old`
    old: list[int] = []  # the first of those to come, the very first on top, each united with all below it
    for now_s in _roomy_times(bookings, by_end, wish):
        while begun < many and starts[begun] <= now_s:
            at ^= masks[begun]
            if begun < seen:
                if not old:
                    old, new = list(accumulate(reversed(masks[begun:seen]), or_)), 0
                old.pop()
            begun += 1
        while over < many and ends[over] <= now_s:
            at ^= end_masks[over]
            over += 1
        seen = max(seen, begun)
        until_s = now_s + wish.duration_s
        while seen < many and starts[seen] < until_s:
            new |= masks[seen]
            seen += 1
        free = wish.allowed & ~(at | new | (old[-1] if old else 0))
        if has_room(free, wish.count, wish.contiguous):
            yield now_s, free


def _roomy_times(by_start: list[Booking], by_end: list[Booking], wish: Wish) -> Iterator[int]:
    """The times at which enough nodes are free for a moment at least: most times fall here, by counting alone."""
    allowed, many, begun = wish.allowed, len(by_start), 0
    room = allowed.bit_count() - wish.count
    now_s, over = wish.from_s, 0
    while True:
        while begun < many and by_start[begun].start_s <= now_s:
            room -= (by_start[begun].mask & allowed).bit_count()
            begun += 1
        while over < many and by_end[over].end_s <= now_s:
            room += (by_end[over].mask & allowed).bit_count()
            over += 1
        if room >= 0:
            yield now_s
        if over == many:
            return
        now_s = by_end[over].end_s


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
