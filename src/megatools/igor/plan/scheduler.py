"""Who gets which nodes when. Pure: takes bookings and a wish, returns a slot, or whom to end for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import islice

import msgspec

from megatools.igor.plan.calendar import Booking, Slot, Wish, chosen, has_room, obstacles, openings, taken


class Opening(msgspec.Struct, frozen=True):
    """A slot, and the bookings whose end made it possible."""

    slot: Slot
    after: tuple[str, ...] = ()


def earliest(bookings: Collection[Booking], wish: Wish, but: Collection[int] = ()) -> Slot | None:
    """The earliest slot for a wish; None when it can never be fulfilled (more nodes than are allowed)."""
    ways = obstacles(bookings, wish, but)
    for start_s, free in openings(ways, wish):
        mask = _pick(bookings, wish, start_s, free, but)
        if not mask & taken(ways, start_s, start_s + wish.duration_s):
            return Slot(start_s, mask)
        return slowly(bookings, ways, wish, but)
    return None


def at_once(bookings: Collection[Booking], wish: Wish, but: Collection[int] = ()) -> Slot | None:
    """A slot that starts exactly at the wish's `from_s`; None when there is none."""
    ways = obstacles(bookings, wish, but)
    free = wish.allowed & ~taken(ways, wish.from_s, wish.from_s + wish.duration_s)
    if wish.named:
        return None if wish.named & ~free else Slot(wish.from_s, wish.named)
    if not has_room(free, wish.count, wish.contiguous):
        return None
    return Slot(wish.from_s, _pick(bookings, wish, wish.from_s, free, but))


def next_openings(bookings: Collection[Booking], wish: Wish, limit: int) -> list[Opening]:
    """The next times at which a wish could start."""
    ways = obstacles(bookings, wish)
    found: list[Opening] = []
    for start_s, free in islice(openings(ways, wish), limit):
        mask = _pick(bookings, wish, start_s, free, ())
        found.append(Opening(Slot(start_s, mask), tuple(one.name for one in ways if one.end_s == start_s)))
    return found


def _pick(bookings: Iterable[Booking], wish: Wish, start_s: int, free: int, but: Collection[int]) -> int:
    if wish.named:
        return wish.named
    end_s = start_s + wish.duration_s
    held = 0  # by expired or best-effort reservations: better left alone
    for one in bookings:
        if one.id not in but and ((one.active and one.end_s <= start_s) or (one.yields and one.start_s < end_s)):
            held |= one.mask
    return chosen(free, held, wish.count, wish.contiguous)


def slowly(bookings: Collection[Booking], ways: list[Booking], wish: Wish, but: Collection[int]) -> Slot | None:
    """The same without trusting that bookings never share a node."""
    for start_s in sorted({wish.from_s, *(one.end_s for one in ways)}):
        free = wish.allowed & ~taken(ways, start_s, start_s + wish.duration_s)
        if wish.named and not wish.named & ~free:
            return Slot(start_s, wish.named)
        if not wish.named and has_room(free, wish.count, wish.contiguous):
            return Slot(start_s, _pick(bookings, wish, start_s, free, but))
    return None


def conflicts(
    bookings: Iterable[Booking], mask: int, start_s: int, end_s: int, *, takes: bool = True, but: Collection[int] = ()
) -> list[Booking]:
    """Who holds some of these nodes at some moment of [start_s, end_s), the longest holder first."""
    found = [
        one
        for one in bookings
        if one.mask & mask
        and one.start_s < end_s
        and one.end_s > start_s
        and not (takes and one.yields)
        and one.id not in but
    ]
    return sorted(found, key=lambda one: (-one.end_s, one.id))


def victims(
    bookings: Iterable[Booking], mask: int, start_s: int, end_s: int, but: Collection[int] = ()
) -> list[Booking]:
    """Whom a taker of these nodes ends: expired reservations that still hold some, and best-effort ones in its time."""
    return [
        one
        for one in bookings
        if one.mask & mask
        and one.id not in but
        and ((one.active and one.end_s <= start_s) or (one.yields and one.start_s < end_s and one.end_s > start_s))
    ]


def free_until(bookings: Iterable[Booking], mask: int, after_s: int, but: Collection[int]) -> int | None:
    """When the next reservation wants some of these nodes, from a time on; None when nobody does."""
    starts = [
        max(one.start_s, after_s)
        for one in bookings
        if one.mask & mask and one.end_s > after_s and one.id not in but and not one.yields
    ]
    return min(starts, default=None)


def improved(bookings: Mapping[int, Booking], queue: Iterable[tuple[int, Wish]]) -> dict[int, Slot]:
    """Earlier slots for waiting reservations, first come first served; those that cannot start earlier are left out.

    Each is tried with all others where they are, so nobody's start ever moves to later: a late comer may slip into a
    gap (backfill), but delays none that came before it.
    """
    now = dict(bookings)
    better: dict[int, Slot] = {}
    for key, wish in queue:
        planned = now[key]
        slot = earliest(now.values(), wish, but={key})
        if slot is None or slot.start_s >= planned.start_s:
            continue
        better[key] = slot
        end_s = slot.start_s + wish.duration_s
        now[key] = msgspec.structs.replace(planned, start_s=slot.start_s, end_s=end_s, mask=slot.mask)
    return better
