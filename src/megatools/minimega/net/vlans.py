"""VLAN numbers and their names, per namespace on this host.

Commands and launches ask `resolve`. A number is used as it is, and is kept from being handed out while the namespace
lives; a name is given the next free number of its namespace's range on first use. Nothing in use by a port is
handed out again, 0 and 4095 (reserved by IEEE 802.1Q) never. `other//name` names another namespace's VLAN.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection
from itertools import chain

import msgspec

from megatools.hostkit.errors import AlreadyExists, Corrupt, InvalidInput, Unavailable
from megatools.minimega.net.names import VLAN_LIMIT, check_vlan
from megatools.minimega.state.journal import Change, Delete, Journal, Put, Record, decode

DEFAULT_NAMESPACE = "minimega"
ALIAS, RANGE, TAKEN = "vlan", "vlan-range", "vlan-taken"
_LOWEST, _HIGHEST = 101, 4095
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SEPARATOR = "//"


class Vlan(msgspec.Struct, frozen=True):
    """A tag, and the name it was asked for by (empty for a plain number)."""

    number: int
    alias: str = ""


class Range(msgspec.Struct, frozen=True):
    """Journal kind `vlan-range`: numbers from `low` up to, without, `high`."""

    low: int
    high: int


class Taken(msgspec.Struct, frozen=True):
    """Journal kind `vlan-taken`: a number never handed out; `forced`: by `vlans blacklist`, else used as it is."""

    number: int
    forced: bool


class VlanRow(msgspec.Struct, frozen=True):
    """A line of `vlans`."""

    alias: str
    vlan: int


class RangeRow(msgspec.Struct, frozen=True):
    """A line of `vlans range`; `next` is the number tried first."""

    min: int
    max: int
    next: int


class Vlans:
    """The VLANs of all namespaces of this host."""

    def __init__(
        self,
        journal: Journal,
        in_use: Callable[[], Collection[int]] = frozenset,
        limits: tuple[int, int] = (_LOWEST, _HIGHEST),
    ) -> None:
        """`in_use` gives the tags of ports there are now; `limits` is the range of who has none, half open."""
        self._journal = journal
        self._in_use = in_use
        self._everybodys = Range(limits[0], min(limits[1], _HIGHEST))
        self._lock = asyncio.Lock()  # one change at a time, each journaled before it counts
        self._numbers: dict[tuple[str, str], int] = {}
        self._names: dict[int, tuple[str, str]] = {}
        self._ranges: dict[str, Range] = {}
        self._next: dict[str, int] = {}
        self._taken: dict[tuple[str, int], Taken] = {}

    def recover(self) -> None:
        """Read back what an earlier daemon wrote."""
        for record in self._journal.read(ALIAS):
            row = decode(record, VlanRow)
            self._remember((record.namespace, row.alias), row.vlan)
        for record in self._journal.read(RANGE):
            self._ranges[record.namespace] = decode(record, Range)
        for record in self._journal.read(TAKEN):
            self._taken[record.namespace, _number_of(record)] = decode(record, Taken)

    async def resolve(self, namespace: str, text: str) -> Vlan:
        """The VLAN a text names, allocated on first use. Raises InvalidInput, Unavailable (`out of VLANs`)."""
        if _INTEGER.fullmatch(text):
            number = check_vlan(int(text))
            if number not in self._names and (namespace, number) not in self._taken:
                await self._take(namespace, Taken(number, forced=False))
            return Vlan(number)
        owner, name = _split(namespace, text)
        number = self._numbers.get((owner, name), -1)
        if number < 0:
            async with self._lock:
                number = self._numbers.get((owner, name), -1)
                if number < 0:
                    number = self._free(owner)
                    await self._add(owner, name, number)
        return Vlan(number, text)

    def label(self, namespace: str, number: int) -> str:
        """How a tag is shown in a namespace: `alias (101)`, `other//alias (101)`, or `101`."""
        if number not in self._names:
            return str(number)
        owner, name = self._names[number]
        alias = name if owner == namespace else f"{owner}{_SEPARATOR}{name}"
        return f"{alias} ({number})"

    def rows(self, namespace: str) -> list[VlanRow]:
        """The namespace's own aliases, by name."""
        return [VlanRow(name, number) for (owner, name), number in sorted(self._numbers.items()) if owner == namespace]

    async def add(self, namespace: str, alias: str, text: str) -> None:
        """Give a number a name. Raises AlreadyExists, InvalidInput."""
        if not _INTEGER.fullmatch(text):
            raise InvalidInput("expected integer VLAN", hint=f'"{text}" is none; valid are 0 to {VLAN_LIMIT - 1}')
        number = check_vlan(int(text))
        owner, name = _split(namespace, alias)
        async with self._lock:
            if (owner, name) in self._numbers:
                used = self._numbers[owner, name]
                raise AlreadyExists("alias already in use", hint=f'"{alias}" is VLAN {used}')
            if number in self._names:
                other = _SEPARATOR.join(self._names[number])
                raise AlreadyExists("vlan already in use", hint=f"VLAN {number} is {other}")
            await self._add(owner, name, number)

    async def blacklist(self, namespace: str, text: str) -> None:
        """Never hand a number out. Raises InvalidInput."""
        if not _INTEGER.fullmatch(text):
            raise InvalidInput("expected integer VLAN", hint=f'"{text}" is none; valid are 0 to {VLAN_LIMIT - 1}')
        await self._take(namespace, Taken(check_vlan(int(text)), forced=True))

    def blacklisted(self) -> list[int]:
        """The numbers that are never handed out: blacklisted, or used as they are; in order."""
        return sorted({number for _, number in self._taken})

    def range_row(self, namespace: str) -> RangeRow:
        """The range the namespace's names get their numbers from."""
        row = self._range(namespace)
        return RangeRow(row.low, row.high, max(self._next.get(namespace, 0), row.low))

    def range_text(self, namespace: str) -> str:
        """The namespace's own range as `min-max`, the last one included; empty when it has none."""
        if namespace not in self._ranges and namespace != DEFAULT_NAMESPACE:
            return ""
        row = self._range(namespace)
        return f"{row.low}-{row.high - 1}"

    async def set_range(self, namespace: str, low_text: str, high_text: str) -> None:
        """Set the range, `high` not included; in the default namespace it is everybody's. Raises InvalidInput."""
        if not (_INTEGER.fullmatch(low_text) and _INTEGER.fullmatch(high_text)):
            raise InvalidInput("expected integer values for min/max", hint=f'got "{low_text}" and "{high_text}"')
        low, high = int(low_text), int(high_text)
        if high <= low:
            raise InvalidInput("expected min > max", hint=f"max is not included and must be above min: {low}, {high}")
        check_vlan(low)
        check_vlan(high - 1)
        for other, row in self._ranges.items():
            if DEFAULT_NAMESPACE not in (other, namespace) and other != namespace and low < row.high and row.low < high:
                raise AlreadyExists(
                    f"range overlaps with another namespace: {other}", hint=f"it has [{row.low}, {row.high})"
                )
        async with self._lock:
            await self._journal.write(Put(RANGE, namespace, namespace, Range(low, high)))
            self._ranges[namespace] = Range(low, high)
            self._next.pop(namespace, None)

    async def clear(self, namespace: str, prefix: str | None = None) -> None:
        """Drop the namespace's aliases that start with a prefix; without one also its range and the numbers it took."""
        async with self._lock:
            gone = [key for key in self._numbers if key[0] == namespace and key[1].startswith(prefix or "")]
            changes: list[Change] = [Delete(ALIAS, _SEPARATOR.join(key)) for key in gone]
            taken: list[tuple[str, int]] = []
            if prefix is None:
                taken = [key for key in self._taken if key[0] == namespace]
                changes += [Delete(TAKEN, _taken_id(*key)) for key in taken]
                changes.append(Delete(RANGE, namespace))
            await self._journal.write(*changes)
            for key in gone:
                self._names.pop(self._numbers.pop(key), None)
            for each in taken:
                self._taken.pop(each, None)
            if prefix is None:
                self._ranges.pop(namespace, None)
            self._next.pop(namespace, None)

    async def clear_all(self) -> None:
        """Drop everything, of every namespace."""
        everyone = {owner for owner, _ in self._numbers} | {owner for owner, _ in self._taken} | set(self._ranges)
        for namespace in everyone:
            await self.clear(namespace)

    def names(self, namespace: str) -> list[str]:
        """The namespace's aliases, for completion."""
        return [name for owner, name in self._numbers if owner == namespace]

    # inside

    def _range(self, namespace: str) -> Range:
        everybodys = self._ranges.get(DEFAULT_NAMESPACE, self._everybodys)
        return self._ranges.get(namespace, everybodys)

    def _free(self, namespace: str) -> int:
        """The next number nobody has, going round once."""
        own = self._range(namespace)
        reserved = [row for other, row in self._ranges.items() if other not in (namespace, DEFAULT_NAMESPACE)]
        unusable = {0, _HIGHEST, *self._names, *self._in_use(), *(number for _, number in self._taken)}
        start = max(self._next.get(namespace, 0), own.low)
        for number in chain(range(start, own.high), range(own.low, min(start, own.high))):
            if number not in unusable and not any(row.low <= number < row.high for row in reserved):
                self._next[namespace] = number + 1
                return number
        raise Unavailable("out of VLANs", hint=f"all of [{own.low}, {own.high}) are in use; see vlans range")

    async def _add(self, owner: str, name: str, number: int) -> None:
        row = VlanRow(name, number)
        await self._journal.write(Put(ALIAS, f"{owner}{_SEPARATOR}{name}", owner, row))
        self._remember((owner, name), number)

    async def _take(self, namespace: str, taken: Taken) -> None:
        await self._journal.write(Put(TAKEN, _taken_id(namespace, taken.number), namespace, taken))
        self._taken[namespace, taken.number] = taken

    def _remember(self, key: tuple[str, str], number: int) -> None:
        self._numbers[key] = number
        self._names[number] = key


def _split(namespace: str, text: str) -> tuple[str, str]:
    owner, separator, name = text.rpartition(_SEPARATOR)
    if not name or (separator and not owner):
        raise InvalidInput("VLAN must be non-empty string", hint=f'got "{text}"')
    if any(letter.isspace() or letter == "," for letter in text):
        raise InvalidInput(f'VLAN alias "{text}" has a space or comma in it')
    return owner or namespace, name


def _taken_id(namespace: str, number: int) -> str:
    return f"{namespace}{_SEPARATOR}{number}"


def _number_of(record: Record) -> int:
    _, _, number = record.id.rpartition(_SEPARATOR)
    if not number.isdigit():
        raise Corrupt(f'journal record "{record.kind}/{record.id}" has no number')
    return int(number)
