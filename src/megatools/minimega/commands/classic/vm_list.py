"""The classic list of VMs: `vm_info [output=quiet|json] [key=value] [[a,b,c]]` in its own columns (spec A.2)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.commands.classic.table import Arguments, Special, answers, cells, make_family, words
from megatools.minimega.commands.services import Cmd
from megatools.minimega.lang.answer import Table

# Classic column -> modern column; the ones of `_LISTS` hold lists. In the default order.
_COLUMNS: Mapping[str, str] = {
    "id": "id",
    "host": "host",
    "name": "name",
    "state": "state",
    "memory": "memory",
    "vcpus": "vcpus",
    "disk": "disks",
    "initrd": "initrd",
    "kernel": "kernel",
    "cdrom": "cdrom",
    "append": "append",
    "bridge": "bridge",
    "tap": "tap",
    "mac": "mac",
    "ip": "ip",
    "ip6": "ip6",
    "vlan": "vlan",
    "uuid": "uuid",
    "cc_active": "cc_active",
}
_LISTS = frozenset(("disk", "bridge", "tap", "mac", "ip", "ip6", "vlan"))
_JSON: Mapping[str, str] = {
    "Host": "host",
    "Name": "name",
    "Memory": "memory",
    "Vcpus": "vcpus",
    "Disk": "disk",
    "Initrd": "initrd",
    "Kernel": "kernel",
    "Cdrom": "cdrom",
    "Append": "append",
    "State": "state",
    "Bridges": "bridge",
    "Taps": "tap",
    "Macs": "mac",
    "IP": "ip",
    "IP6": "ip6",
    "Networks": "vlan",
    "UUID": "uuid",
}
_STATES = frozenset(("building", "running", "paused", "quit", "error"))
_MODES = {"output=quiet": "quiet", "output=json": "json"}


@dataclass(frozen=True)
class Query:
    """What a `vm_info` line asks for: an output mode, a search (key, value) and the columns."""

    mode: str = ""
    search: tuple[str, str] | None = None
    mask: tuple[str, ...] = tuple(_COLUMNS)


def parse_query(arguments: tuple[str, ...]) -> Query:
    """The words after `vm_info`, in the order output, search, mask; raises InvalidInput."""
    rest = list(arguments)
    mode = ""
    if rest and rest[0].startswith("output="):
        if rest[0] not in _MODES:
            raise InvalidInput("malformed command", hint="output=quiet or output=json")
        mode = _MODES[rest.pop(0)]
    if len(rest) > 2:
        raise InvalidInput("too many arguments", hint="vm_info [output=quiet|json] [key=value] [[a,b,c]]")
    mask = tuple(_COLUMNS)
    if rest and rest[-1].startswith("["):
        mask = _mask(rest.pop())
    if len(rest) > 1:
        raise InvalidInput("malformed command", hint="vm_info [output=quiet|json] [key=value] [[a,b,c]]")
    return Query(mode, _search(rest[0]) if rest else None, mask)


def _mask(text: str) -> tuple[str, ...]:
    if not text.endswith("]"):
        raise InvalidInput("malformed command", hint="columns are named as [id,name], without spaces")
    columns = tuple(column.lower() for column in text[1:-1].split(","))
    for column in columns:
        if column not in _COLUMNS:
            raise InvalidInput(f"invalid output mask: {column}", hint=f"columns: {', '.join(_COLUMNS)}")
    return columns


def _search(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    key = key.lower()
    if not equals or "=" in value:
        raise InvalidInput("malformed search term", hint="key=value")
    if key not in _COLUMNS:
        raise InvalidInput(f"invalid search term: {key}", hint=f"keys: {', '.join(_COLUMNS)}")
    if key == "id" and not value.isdigit():
        raise InvalidInput(f"invalid ID: {value}")
    if key == "state" and value.lower() not in _STATES:
        raise InvalidInput(f"invalid state: {value}", hint=", ".join(sorted(_STATES)))
    return key, value


@dataclass(frozen=True)
class Machine:
    """A VM in classic terms: single values by column, lists by column, and whether its disks are snapshots."""

    values: Mapping[str, str]
    lists: Mapping[str, tuple[str, ...]]
    snapshot: bool

    def cell(self, column: str) -> str:
        """What the column shows."""
        if column not in self.lists:
            return self.values[column]
        items = self.lists[column]
        shown = f"[{' '.join(items)}]"
        return f"{shown} [snapshot]" if column == "disk" and self.snapshot and items else shown

    def matches(self, key: str, value: str) -> bool:
        """Whether the VM has exactly this value, or has it among its list."""
        if key in self.lists:
            return value in self.lists[key]
        fold: Callable[[str], str] = str.lower if key in ("host", "state") else str
        return fold(self.values[key]) == fold(value)


def machine(row: Mapping[str, str]) -> Machine:
    """A row of the modern `vm info` in classic terms."""
    known = {column: row.get(modern, "") for column, modern in _COLUMNS.items()}
    plain = {column: "" if value == "N/A" else value for column, value in known.items()}
    plain["state"] = plain["state"].lower()
    lists = {column: _items(plain[column]) for column in _LISTS}
    lists["vlan"] = tuple(_tag(item) for item in lists["vlan"])
    lists["disk"] = tuple(item.partition(",")[0] for item in lists["disk"])
    return Machine(plain, lists, row.get("snapshot") == "true")


def _items(text: str) -> tuple[str, ...]:
    inner = text.removeprefix("[").removesuffix("]")
    return tuple(inner.split(", ")) if inner else ()


def _tag(text: str) -> str:
    """The number in `alias (101)`; classic networks are numbers."""
    return text.rpartition("(")[2].removesuffix(")") if text.endswith(")") else text


async def _list(call: Cmd, arguments: Arguments) -> AsyncIterator[str | Table]:
    query = parse_query(words(arguments, "words"))
    machines = [machine(row) for row in cells(await answers(call, "vm info"))]
    if query.search is not None:
        machines = [found for found in machines if found.matches(*query.search)]
    machines.sort(key=lambda found: (found.values["host"], int(found.values["id"])))
    if query.mode == "json":
        yield json.dumps([_object(found) for found in machines])
        return
    rows = tuple(tuple(found.cell(column) for column in query.mask) for found in machines)
    if query.mode == "quiet":
        yield "\n".join("\t".join(row) for row in rows)
    elif rows:
        yield Table(query.mask, rows)


def _object(found: Machine) -> dict[str, object]:
    plain: dict[str, object] = {"Id": int(found.values["id"])}
    for key, column in _JSON.items():
        plain[key] = list(found.lists[column]) if column in found.lists else found.values[column]
    return plain | {"Snapshot": found.snapshot, "CC_Active": found.values["cc_active"] == "true"}


family = make_family(
    "classic vm list",
    "Classic words: the list of virtual machines",
    (Special("vm_info [words]...", _list, "list VMs: [output=quiet|json] [key=value] [[column,column]]"),),
)
