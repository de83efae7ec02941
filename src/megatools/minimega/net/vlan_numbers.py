"""Which VLAN number is given out next; pure. Used by `net.vlans` and, for namespaces over hosts, by `cluster`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

import msgspec

LOWEST, HIGHEST = 101, 4095  # 4095 is reserved by IEEE 802.1Q, as is 0


class Range(msgspec.Struct, frozen=True):
    """Journal kind `vlan-range`: numbers from `low` up to, without, `high`."""

    low: int
    high: int


@dataclass(frozen=True)
class Agreed:
    """What the hosts of a namespace agreed on about its VLANs, as this host last heard; `next` is tried first."""

    aliases: Mapping[str, int] = field(default_factory=dict[str, int])
    range: Range | None = None
    blacklist: Collection[int] = ()
    next: int = 0


class Decider(Protocol):
    """Who decides about the VLANs of namespaces in which other hosts have a say; `app` puts `cluster` here.

    Everything raises Unavailable when too few of the namespace's hosts can be reached.
    """

    def decides(self, namespace: str) -> bool:
        """Whether other hosts have a say."""
        ...

    async def allocate(self, namespace: str, name: str) -> int:
        """The number of a name, given on first use."""
        ...

    async def add(self, namespace: str, alias: str, number: int) -> None:
        """Give a number a name. Raises AlreadyExists."""
        ...

    async def set_range(self, namespace: str, own: Range) -> None:
        """Give out numbers of this range from now on."""
        ...

    async def blacklist(self, namespace: str, number: int) -> None:
        """Never give out a number."""
        ...

    async def clear(self, namespace: str, prefix: str | None) -> None:
        """Drop names by prefix; without one also the range and the blacklist."""
        ...


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
