"""What hosts say to each other about VLAN tables, on mesh service `vlan`; msgpack. Used by `cluster.authority`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

import msgspec

from megatools.minimega.cluster.quorum import Decree
from megatools.minimega.cluster.vlan_table import Change, Outcome
from megatools.minimega.net.names import VLAN_LIMIT
from megatools.minimega.state.stamps import ZERO, Stamp

SERVICE = "vlan"


class Prepare(msgspec.Struct, frozen=True, tag=True):
    """Will you refuse lower ballots about this table, and what did you accept last?"""

    key: str
    ballot: Stamp


class Accept(msgspec.Struct, frozen=True, tag=True):
    """Will you accept this? `fresh` are the numbers it gives out anew."""

    key: str
    decree: Decree
    fresh: tuple[int, ...] = ()


class Ask(msgspec.Struct, frozen=True, tag=True):
    """You own this table: change it for me."""

    key: str
    changes: tuple[Change, ...]


Question: TypeAlias = Prepare | Accept
Request: TypeAlias = Question | Ask


class Promised(msgspec.Struct, frozen=True, tag=True):
    """Lower ballots will be refused.

    `decree` is what was accepted last, `busy` are the numbers in use on that host (as bits), `own` the names it gave
    out by itself before it met the others.
    """

    id: str
    decree: Decree | None = None
    busy: bytes = b""
    own: dict[str, int] = {}


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """Accepted, and on disk."""

    id: str


class Refused(msgspec.Struct, frozen=True, tag=True):
    """A higher ballot was promised, or these numbers have a name in another namespace here."""

    promised: Stamp
    numbers: tuple[int, ...] = ()


class Answered(msgspec.Struct, frozen=True, tag=True):
    """How each change ended; `ballot` is that of the decree by then, which comes to who asked as a shared record."""

    outcomes: tuple[Outcome, ...]
    ballot: Stamp = ZERO


Reply: TypeAlias = Promised | Accepted | Refused | Answered


def as_bits(numbers: Collection[int]) -> bytes:
    """VLAN numbers as one bit each."""
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits.to_bytes(VLAN_LIMIT // 8, "big")


def from_bits(packed: bytes) -> set[int]:
    """The numbers whose bit is set."""
    text = f"{int.from_bytes(packed, 'big'):b}"[::-1]
    return {number for number, bit in enumerate(text) if bit == "1"}
