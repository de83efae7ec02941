"""What the pages need of the virtual machines, and how they find one by the words of an address.

The web ring sees the fleet through `FleetView` only; `app` brings the implementation, for this host and its peers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.minimega.lang.answer import Table
from megatools.minimega.vnc.relay import Console

Row: TypeAlias = Mapping[str, str]
"""One VM: the cells of `vm info` by column name, its `host` and its `namespace`."""


class Verb(StrEnum):
    """What a button can ask of a VM."""

    START = "start"
    STOP = "stop"
    KILL = "kill"


class FleetView(Protocol):
    """The VMs of every namespace on every host, as the pages see them."""

    @property
    def host(self) -> str:
        """The name of this host."""
        ...

    async def table(self) -> Table:
        """Every VM: the columns of `vm info`, after two called `host` and `namespace`."""
        ...

    def silent(self) -> Mapping[str, str]:
        """The hosts whose VMs the last table lacks or has as they were, and why."""
        ...

    async def hosts(self) -> Sequence[Mapping[str, str]]:
        """Every host of the mesh, this one first: the cells of `host` by column name, its `name`, `state` and `links`.

        The state is `here`, `connected` or why it does not answer; links are names of hosts, joined by commas.
        """
        ...

    def changes(self) -> AsyncIterator[object]:
        """Yields whenever something about a VM changed; what, does not matter."""
        ...

    async def console(self, vm: Row) -> Console:
        """A connection to the console of a known VM; raises NotFound, InvalidState (it has none), Unavailable."""
        ...

    async def screenshot(self, vm: Row, max_px: int) -> bytes:
        """A VM's screen as PNG, no side longer than `max_px` pixels (0: as it is)."""
        ...

    async def control(self, vm: Row, verb: Verb) -> None:
        """Start, stop or kill one VM; raises the error a command would."""
        ...


def rows_of(table: Table) -> list[Row]:
    """The table's rows as mappings from column to cell."""
    return [dict(zip(table.header, cells, strict=True)) for cells in table.rows]


def find_row(rows: Sequence[Row], vm: str, namespace: str | None = None, near: str = "") -> Row:
    """The VM with this name, UUID or id, within a namespace or in all of them; names win over ids.

    Of several in one namespace the one on the host `near` is meant. Raises NotFound when there is none, InvalidInput
    when it is not clear which.
    """
    known = [row for row in rows if namespace is None or row["namespace"] == namespace]
    for column in ("name", "uuid", "id"):
        found = [row for row in known if row.get(column) == vm]
        spaces = sorted({row["namespace"] for row in found})
        if len(spaces) > 1:
            raise InvalidInput(f'several VMs are called "{vm}"', hint=f"name the namespace: {', '.join(spaces)}")
        nearest = [row for row in found if row["host"] == near] or found
        if len(nearest) > 1:
            hosts = ", ".join(sorted(row["host"] for row in nearest))
            raise InvalidInput(f'several hosts have a VM called "{vm}": {hosts}', hint="use its UUID in the address")
        if nearest:
            return nearest[0]
    where = f' in namespace "{namespace}"' if namespace is not None else ""
    raise NotFound(f'no VM "{vm}"{where}', hint="the list of VMs is at /")
