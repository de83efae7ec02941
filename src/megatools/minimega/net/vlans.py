"""VLAN numbers and their names, per namespace, as this host knows them.

Commands and launches ask `resolve`. A number is used as it is, and is kept from being handed out while the namespace
lives; a name is given the next free number of its namespace's range on first use. Nothing in use by a port is
handed out again, 0 and 4095 (reserved by IEEE 802.1Q) never. `other//name` names another namespace's VLAN.

Where other hosts have a say (`vlan_numbers.Decider`), they are asked about what is new, and what they agreed on is
learned here; a name known here needs no asking. What this host gave out by itself before it met the others stays
valid here, whatever they agreed on.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Mapping

import msgspec

from megatools.hostkit.errors import AlreadyExists, Corrupt, InvalidInput, Unavailable
from megatools.minimega.net.names import VLAN_LIMIT, check_vlan
from megatools.minimega.net.vlan_numbers import HIGHEST, LOWEST, Agreed, Decider, Range, free_number
from megatools.minimega.state.journal import Change, Delete, Journal, Put, Record, decode

DEFAULT_NAMESPACE = "minimega"
ALIAS, RANGE, TAKEN = "vlan", "vlan-range", "vlan-taken"
SEPARATOR = "//"
_INTEGER = re.compile(r"[+-]?[0-9]+")


class Vlan(msgspec.Struct, frozen=True):
    """A tag, and the name it was asked for by (empty for a plain number)."""

    number: int
    alias: str = ""


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
    """The VLANs of all namespaces, as this host knows them."""

    def __init__(
        self,
        journal: Journal,
        in_use: Callable[[], Collection[int]] = frozenset,
        limits: tuple[int, int] = (LOWEST, HIGHEST),
    ) -> None:
        """`in_use` gives the tags of ports there are now; `limits` is the range of who has none, half open."""
        self._journal = journal
        self._in_use = in_use
        self._limits = Range(limits[0], min(limits[1], HIGHEST))
        self._lock = asyncio.Lock()  # one change at a time, each journaled before it counts
        self._own: dict[tuple[str, str], int] = {}  # given out here
        self._agreed: dict[str, Agreed] = {}
        self._numbers: dict[tuple[str, str], int] = {}  # both
        self._names: dict[int, tuple[str, str]] = {}
        self._ranges: dict[str, Range] = {}
        self._next: dict[str, int] = {}
        self._taken: dict[tuple[str, int], Taken] = {}
        self._decider: Decider | None = None
        self._on_taken: Callable[[], None] | None = None

    def recover(self) -> None:
        """Read back what an earlier daemon wrote."""
        for record in self._journal.read(ALIAS):
            row = decode(record, VlanRow)
            self._own[record.namespace, row.alias] = row.vlan
        for record in self._journal.read(RANGE):
            self._ranges[record.namespace] = decode(record, Range)
        for record in self._journal.read(TAKEN):
            self._taken[record.namespace, _number_of(record)] = decode(record, Taken)
        self._index()

    # ---- ask

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
            number = await self._allocate(owner, name)
        return Vlan(number, text)

    async def allocate_here(self, namespace: str, name: str) -> int:
        """The number of a name, given by this host alone."""
        async with self._lock:
            number = self._numbers.get((namespace, name), -1)
            if number < 0:
                number = self._free(namespace)
                await self._add(namespace, name, number)
        return number

    def label(self, namespace: str, number: int) -> str:
        """How a tag is shown in a namespace: `alias (101)`, `other//alias (101)`, or `101`."""
        if number not in self._names:
            return str(number)
        owner, name = self._names[number]
        alias = name if owner == namespace else f"{owner}{SEPARATOR}{name}"
        return f"{alias} ({number})"

    def rows(self, namespace: str) -> list[VlanRow]:
        """The namespace's own aliases, by name."""
        return [VlanRow(name, number) for (owner, name), number in sorted(self._numbers.items()) if owner == namespace]

    def names(self, namespace: str) -> list[str]:
        """The namespace's aliases, for completion."""
        return [name for owner, name in self._numbers if owner == namespace]

    def blacklisted(self) -> list[int]:
        """The numbers that are never handed out: blacklisted, or used as they are; in order."""
        listed = (number for agreed in self._agreed.values() for number in agreed.blacklist)
        return sorted({*listed, *self.taken()})

    def range_row(self, namespace: str) -> RangeRow:
        """The range the namespace's names get their numbers from."""
        row = self._range(namespace)
        following = self._next.get(namespace, self._agreed[namespace].next if namespace in self._agreed else 0)
        return RangeRow(row.low, row.high, max(following, row.low))

    def range_text(self, namespace: str) -> str:
        """The namespace's own range as `min-max`, the last one included; empty when it has none."""
        if namespace not in self._every_range() and namespace != DEFAULT_NAMESPACE:
            return ""
        row = self._range(namespace)
        return f"{row.low}-{row.high - 1}"

    # ---- change

    async def add(self, namespace: str, alias: str, text: str) -> None:
        """Give a number a name. Raises AlreadyExists, InvalidInput."""
        number = _integer(text)
        owner, name = _split(namespace, alias)
        if (decider := self._decider_of(owner)) is not None:
            await decider.add(owner, name, number)
            return
        async with self._lock:
            if (owner, name) in self._numbers:
                used = self._numbers[owner, name]
                raise AlreadyExists("alias already in use", hint=f'"{alias}" is VLAN {used}')
            if number in self._names:
                other = SEPARATOR.join(self._names[number])
                raise AlreadyExists("vlan already in use", hint=f"VLAN {number} is {other}")
            await self._add(owner, name, number)

    async def blacklist(self, namespace: str, text: str) -> None:
        """Never hand a number out. Raises InvalidInput."""
        number = _integer(text)
        if (decider := self._decider_of(namespace)) is not None:
            await decider.blacklist(namespace, number)
        else:
            await self._take(namespace, Taken(number, forced=True))

    async def set_range(self, namespace: str, low_text: str, high_text: str) -> None:
        """Set the range, `high` not included; in the default namespace it is everybody's. Raises InvalidInput."""
        own = _range_of(low_text, high_text)
        for other, row in self._every_range().items():
            overlaps = own.low < row.high and row.low < own.high
            if DEFAULT_NAMESPACE not in (other, namespace) and other != namespace and overlaps:
                raise AlreadyExists(
                    f"range overlaps with another namespace: {other}", hint=f"it has [{row.low}, {row.high})"
                )
        if (decider := self._decider_of(namespace)) is not None:
            await decider.set_range(namespace, own)
            return
        async with self._lock:
            await self._journal.write(Put(RANGE, namespace, namespace, own))
            self._ranges[namespace] = own
            self._next.pop(namespace, None)

    async def clear(self, namespace: str, prefix: str | None = None) -> None:
        """Drop the namespace's aliases that start with a prefix; without one also its range and the numbers it took."""
        if (decider := self._decider_of(namespace)) is not None:
            await decider.clear(namespace, prefix)
        await self.leave(namespace, prefix)

    async def clear_all(self) -> None:
        """Drop everything, of every namespace."""
        for namespace in self._everyone() | set(self._agreed):
            await self.clear(namespace)

    async def leave(self, namespace: str, prefix: str | None = None) -> None:
        """Drop what this host gave out by itself; what was agreed on with others stays."""
        async with self._lock:
            gone = [key for key in self._own if key[0] == namespace and key[1].startswith(prefix or "")]
            changes: list[Change] = [Delete(ALIAS, SEPARATOR.join(key)) for key in gone]
            taken: list[tuple[str, int]] = []
            if prefix is None:
                taken = [key for key in self._taken if key[0] == namespace]
                changes += [Delete(TAKEN, _taken_id(*key)) for key in taken]
                changes.append(Delete(RANGE, namespace))
            await self._journal.write(*changes)
            for key in gone:
                self._own.pop(key)
            for each in taken:
                self._taken.pop(each, None)
            if prefix is None:
                self._ranges.pop(namespace, None)
            self._next.pop(namespace, None)
            self._index()

    async def leave_all(self) -> None:
        """Drop all that this host gave out by itself: the daemon was told to quit."""
        for namespace in self._everyone():
            await self.leave(namespace)

    # ---- what whoever decides with other hosts needs

    def decided_by(self, decider: Decider, on_taken: Callable[[], None]) -> None:
        """Ask for what is new from now on; `on_taken` is told when a number was used as it is."""
        self._decider, self._on_taken = decider, on_taken

    def learn(self, namespace: str, agreed: Agreed | None) -> None:
        """Take what the hosts of a namespace agreed on; None when there is nothing any more."""
        if agreed is None:
            self._agreed.pop(namespace, None)
        else:
            self._agreed[namespace] = agreed
        self._index()

    def own(self, namespace: str) -> dict[str, int]:
        """What this host gave out by itself, or before it met the others."""
        return {name: number for (owner, name), number in self._own.items() if owner == namespace}

    async def keep(self, namespace: str, aliases: Mapping[str, int]) -> None:
        """These were valid here and stay so, though others agreed on something else."""
        async with self._lock:
            rows = [VlanRow(name, number) for name, number in aliases.items()]
            await self._journal.write(
                *(Put(ALIAS, f"{namespace}{SEPARATOR}{row.alias}", namespace, row) for row in rows)
            )
            self._own.update({(namespace, name): number for name, number in aliases.items()})
            self._index()

    async def disown(self, namespace: str, names: Collection[str]) -> None:
        """These are agreed on now, as they were given out here."""
        async with self._lock:
            await self._journal.write(*(Delete(ALIAS, f"{namespace}{SEPARATOR}{name}") for name in names))
            for name in names:
                self._own.pop((namespace, name), None)
            self._index()

    def named_elsewhere(self, namespace: str) -> Mapping[int, str]:
        """The numbers that have a name in other namespaces, and that name."""
        return {number: SEPARATOR.join(key) for number, key in self._names.items() if key[0] != namespace}

    def taken(self) -> set[int]:
        """The numbers that were blacklisted here by itself, or used as they are."""
        return {number for _, number in self._taken}

    def unusable(self) -> set[int]:
        """The numbers that are not handed out, besides those with a name."""
        return {0, HIGHEST, *self._in_use(), *self.blacklisted()}

    def ranges_elsewhere(self, namespace: str) -> list[Range]:
        """The ranges of other namespaces."""
        return [row for other, row in self._every_range().items() if other not in (namespace, DEFAULT_NAMESPACE)]

    @property
    def everybodys(self) -> Range:
        """The range of namespaces that have none of their own."""
        return self._every_range().get(DEFAULT_NAMESPACE, self._limits)

    # ---- inside

    def _decider_of(self, namespace: str) -> Decider | None:
        return self._decider if self._decider is not None and self._decider.decides(namespace) else None

    def _everyone(self) -> set[str]:
        return {owner for owner, _ in self._own} | {owner for owner, _ in self._taken} | set(self._ranges)

    def _every_range(self) -> Mapping[str, Range]:
        agreed = {name: agreed.range for name, agreed in self._agreed.items() if agreed.range is not None}
        return self._ranges | agreed

    def _range(self, namespace: str) -> Range:
        return self._every_range().get(namespace, self.everybodys)

    async def _allocate(self, namespace: str, name: str) -> int:
        decider = self._decider_of(namespace)
        return await (self.allocate_here if decider is None else decider.allocate)(namespace, name)

    def _free(self, namespace: str) -> int:
        """The next number nobody has."""
        own = self._range(namespace)
        unusable = {*self.unusable(), *self._names}
        number = free_number(self._next.get(namespace, 0), own, unusable, self.ranges_elsewhere(namespace))
        if number is None:
            raise Unavailable("out of VLANs", hint=f"all of [{own.low}, {own.high}) are in use; see vlans range")
        self._next[namespace] = number + 1
        return number

    async def _add(self, owner: str, name: str, number: int) -> None:
        row = VlanRow(name, number)
        await self._journal.write(Put(ALIAS, f"{owner}{SEPARATOR}{name}", owner, row))
        self._own[owner, name] = self._numbers[owner, name] = number
        self._names[number] = owner, name

    async def _take(self, namespace: str, taken: Taken) -> None:
        await self._journal.write(Put(TAKEN, _taken_id(namespace, taken.number), namespace, taken))
        self._taken[namespace, taken.number] = taken
        if self._on_taken is not None:
            self._on_taken()

    def _index(self) -> None:
        """What was given out here stays valid here: it comes last."""
        agreed = {
            (owner, name): number for owner, each in self._agreed.items() for name, number in each.aliases.items()
        }
        self._numbers = agreed | self._own
        self._names = {number: key for key, number in self._own.items()} | {
            number: key for key, number in agreed.items() if self._numbers[key] == number
        }


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise InvalidInput("expected integer VLAN", hint=f'"{text}" is none; valid are 0 to {VLAN_LIMIT - 1}')
    return check_vlan(int(text))


def _range_of(low_text: str, high_text: str) -> Range:
    if not (_INTEGER.fullmatch(low_text) and _INTEGER.fullmatch(high_text)):
        raise InvalidInput("expected integer values for min/max", hint=f'got "{low_text}" and "{high_text}"')
    low, high = int(low_text), int(high_text)
    if high <= low:
        raise InvalidInput("expected min > max", hint=f"max is not included and must be above min: {low}, {high}")
    check_vlan(low)
    check_vlan(high - 1)
    return Range(low, high)


def _split(namespace: str, text: str) -> tuple[str, str]:
    owner, separator, name = text.rpartition(SEPARATOR)
    if not name or (separator and not owner):
        raise InvalidInput("VLAN must be non-empty string", hint=f'got "{text}"')
    if any(letter.isspace() or letter == "," for letter in text):
        raise InvalidInput(f'VLAN alias "{text}" has a space or comma in it')
    return owner or namespace, name


def _taken_id(namespace: str, number: int) -> str:
    return f"{namespace}{SEPARATOR}{number}"


def _number_of(record: Record) -> int:
    _, _, number = record.id.rpartition(SEPARATOR)
    if not number.isdigit():
        raise Corrupt(f'journal record "{record.kind}/{record.id}" has no number')
    return int(number)
