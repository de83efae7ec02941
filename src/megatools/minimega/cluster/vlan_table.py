"""What the hosts of a namespace agree on about its VLANs, and how a change makes one table into the next; pure.

Used by `cluster.quorum` and `cluster.authority`. A name that has a number keeps it until it is cleared; nothing here
ever gives one number two names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from megatools.minimega.net.vlan_numbers import Range, free_number
from megatools.minimega.state.stamps import ZERO, Stamp


class Table(msgspec.Struct, frozen=True, omit_defaults=True):
    """A namespace's VLANs; `founded` tells tables apart that were begun in different places under one name.

    `next` is the number tried first; `blacklist` is never given out.
    """

    founded: Stamp = ZERO
    aliases: dict[str, int] = {}
    range: Range | None = None
    blacklist: tuple[int, ...] = ()
    next: int = 0


class Allocate(msgspec.Struct, frozen=True, tag=True):
    """Give these names numbers, those that have none."""

    names: tuple[str, ...]


class AddAlias(msgspec.Struct, frozen=True, tag=True):
    """Give this number this name."""

    alias: str
    number: int


class Adopt(msgspec.Struct, frozen=True, tag=True):
    """Take over what was given out elsewhere before, as far as nothing here contradicts it."""

    aliases: dict[str, int]


class SetRange(msgspec.Struct, frozen=True, tag=True):
    """Numbers from `low` up to, without, `high` are given out."""

    low: int
    high: int


class Blacklist(msgspec.Struct, frozen=True, tag=True):
    """Never give out this number."""

    number: int


class Clear(msgspec.Struct, frozen=True, tag=True):
    """Drop names by prefix; without one also the range and the blacklist."""

    prefix: str | None = None


class SetHosts(msgspec.Struct, frozen=True, tag=True):
    """These hosts decide from now on (the council is changed, not the table)."""

    hosts: tuple[str, ...]


Change: TypeAlias = Allocate | AddAlias | Adopt | SetRange | Blacklist | Clear | SetHosts


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a change ended: the numbers asked for, or the kind, message and hint of an error."""

    numbers: dict[str, int] = {}
    kind: str = ""
    error: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What a change has to keep away from.

    `named`: numbers with a name in another namespace, and that name; `unusable`: all numbers that must not be given
    out; `reserved`: ranges of other namespaces; `everybodys`: the range of who has none; `start`: where a namespace
    without a range of its own begins to look.
    """

    named: Mapping[int, str]
    unusable: Collection[int]
    reserved: Sequence[Range]
    everybodys: Range
    start: int


def apply(table: Table, change: Change, around: Surroundings, *, again: bool = False) -> tuple[Table, Outcome]:
    """The table after a change and how the change ended; `again`: it may have been made already, unheard."""
    match change:
        case Allocate(names):
            return _allocate(table, names, around)
        case AddAlias(alias, number):
            return _add(table, alias, number, around, again=again)
        case Adopt(aliases):
            return adopt(table, aliases), Outcome()
        case SetRange(low, high):
            return replace(table, range=Range(low, high), next=0), Outcome()
        case Blacklist(number):
            return replace(table, blacklist=tuple(sorted({*table.blacklist, number}))), Outcome()
        case Clear(prefix):
            return _clear(table, prefix), Outcome()
        case SetHosts():
            return table, Outcome()


def _clear(table: Table, prefix: str | None) -> Table:
    if prefix is None:
        return Table(founded=table.founded)
    kept = {name: number for name, number in table.aliases.items() if not name.startswith(prefix)}
    return replace(table, aliases=kept, next=0)


def adopt(table: Table, aliases: Mapping[str, int]) -> Table:
    """The table with names from elsewhere added, except those that contradict it."""
    numbers = set(table.aliases.values())
    added: dict[str, int] = {}
    for name, number in sorted(aliases.items()):
        if name not in table.aliases and number not in numbers:
            added[name] = number
            numbers.add(number)
    return replace(table, aliases=table.aliases | added) if added else table


def spread_start(namespace: str, everybodys: Range, named: Collection[int]) -> int:
    """Where a namespace begins to look for numbers, so that two that cannot ask each other rarely meet.

    Derived from its name; places close to numbers of others are passed over while there are better ones.
    """
    width = everybodys.high - everybodys.low
    first = everybodys.low
    for salt in range(16):
        hashed = blake2b(f"{namespace}\0{salt}".encode(), digest_size=8).digest()
        start = everybodys.low + int.from_bytes(hashed, "big") % width
        first = start if salt == 0 else first
        if not any(start <= number < start + 32 for number in named):
            return start
    return first


def _allocate(table: Table, names: Sequence[str], around: Surroundings) -> tuple[Table, Outcome]:
    own = table.range or around.everybodys
    aliases = dict(table.aliases)
    unusable = {*around.unusable, *around.named, *aliases.values(), *table.blacklist}
    following = table.next or (own.low if table.range else around.start)
    for name in names:
        if name in aliases:
            continue
        number = free_number(following, own, unusable, around.reserved)
        if number is None:
            hint = f"all of [{own.low}, {own.high}) are in use; see vlans range"
            return table, Outcome(kind="Unavailable", error="out of VLANs", hint=hint)
        aliases[name] = number
        unusable.add(number)
        following = number + 1
    if len(aliases) > len(table.aliases):
        table = replace(table, aliases=aliases, next=following)
    return table, Outcome(numbers={name: aliases[name] for name in names})


def _add(table: Table, alias: str, number: int, around: Surroundings, *, again: bool) -> tuple[Table, Outcome]:
    known = table.aliases.get(alias)
    if again and known == number:
        return table, Outcome()
    if known is not None:
        return table, Outcome(kind="AlreadyExists", error="alias already in use", hint=f'"{alias}" is VLAN {known}')
    other = next((name for name, used in table.aliases.items() if used == number), around.named.get(number))
    if other is not None:
        return table, Outcome(kind="AlreadyExists", error="vlan already in use", hint=f"VLAN {number} is {other}")
    return replace(table, aliases=table.aliases | {alias: number}), Outcome()
