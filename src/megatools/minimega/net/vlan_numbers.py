"""Which VLAN number is given out next; pure. Used by `net.vlans` and, for namespaces over hosts, by `cluster`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import chain

import msgspec

LOWEST, HIGHEST = 101, 4095  # 4095 is reserved by IEEE 802.1Q, as is 0


class Range(msgspec.Struct, frozen=True):
    """Journal kind `vlan-range`: numbers from `low` up to, without, `high`."""

    low: int
    high: int


def free_number(start: int, own: Range, unusable: Collection[int], reserved: Iterable[Range]) -> int | None:
    """The next number from `start` on that nobody has, going round the range once; None when there is none."""
    begin = max(start, own.low)
    others = tuple(reserved)
    for number in chain(range(begin, own.high), range(own.low, min(begin, own.high))):
        if number in (0, HIGHEST) or number in unusable:
            continue
        if not any(row.low <= number < row.high for row in others):
            return number
    return None
