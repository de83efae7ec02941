"""What the pages need of the virtual machines, and how they find one by the words of an address.

The web ring sees the fleet through `FleetView` only; `app` brings the implementation for this host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.minimega.lang.answer import Table

Row: TypeAlias = Mapping[str, str]
"""One VM: the cells of `vm info` by column name, and its `namespace`."""


class Verb(StrEnum):
    """What a button can ask of a VM."""

    START = "start"
    STOP = "stop"
    KILL = "kill"


class FleetView(Protocol):
    """The VMs of every namespace, as the pages see them; `vm` is a UUID, which names one VM only."""

    @property
    def host(self) -> str:
        """The name of this host."""
        ...

    async def table(self) -> Table:
        """Every VM of every namespace: the columns of `vm info`, after one called `namespace`."""
        ...

    def changes(self) -> AsyncIterator[object]:
        """Yields whenever something about a VM changed; what, does not matter."""
        ...

    def console(self, namespace: str, vm: str) -> Path:
        """The VNC socket of a known VM; raises NotFound or InvalidState when it has none."""
        ...

    async def screenshot(self, namespace: str, vm: str, max_px: int) -> bytes:
        """A VM's screen as PNG, no side longer than `max_px` pixels (0: as it is)."""
        ...

    async def control(self, namespace: str, verb: Verb, vm: str) -> None:
        """Start, stop or kill one VM; raises the error a command would."""
        ...


def rows_of(table: Table) -> list[Row]:
    """The table's rows as mappings from column to cell."""
    return [dict(zip(table.header, cells, strict=True)) for cells in table.rows]


def find_row(rows: Sequence[Row], vm: str, namespace: str | None = None) -> Row:
    """The VM with this name, UUID or id, within a namespace or in all of them; names win over ids.

    Raises NotFound when there is none, InvalidInput when several namespaces have one.
    """
    known = [row for row in rows if namespace is None or row["namespace"] == namespace]
    for column in ("name", "uuid", "id"):
        found = [row for row in known if row.get(column) == vm]
        if len(found) > 1:
            spaces = ", ".join(sorted(row["namespace"] for row in found))
            raise InvalidInput(f'several VMs are called "{vm}"', hint=f"name the namespace in the address: {spaces}")
        if found:
            return found[0]
    where = f' in namespace "{namespace}"' if namespace is not None else ""
    raise NotFound(f'no VM "{vm}"{where}', hint="the list of VMs is at /")
