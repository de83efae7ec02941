"""The pages' view of this host's virtual machines; made by `app`.

What is listed comes from the fleet; what is asked of a VM goes the way commands go, through `Hosts`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from megatools.hostkit.errors import InvalidState
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.lang.answer import Table, rows_table
from megatools.minimega.lang.operation import Operation, Request
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.operations import KillVms, StartVms, StopVms
from megatools.minimega.vm.rows import VmRow
from megatools.minimega.web.fleet import Verb


class LocalFleet:
    """Satisfies `FleetView` for one host."""

    def __init__(self, hosts: Hosts, fleet: Fleet) -> None:
        self._hosts = hosts
        self._fleet = fleet

    @property
    def host(self) -> str:
        """The name of this host."""
        return self._hosts.local

    async def table(self) -> Table:
        """Every VM of every namespace: the columns of `vm info`, after one called `namespace`."""
        table = rows_table(VmRow, self._fleet.rows())
        spaces = [machine.namespace for machine in self._fleet.machines()]
        rows = tuple((space, *cells) for space, cells in zip(spaces, table.rows, strict=True))
        return Table(("namespace", *table.header), rows)

    def changes(self) -> AsyncIterator[object]:
        """Yields whenever something about a VM changed."""
        return self._fleet.subscribe()

    def console(self, namespace: str, vm: str) -> Path:
        """The VNC socket of a known VM; raises NotFound or InvalidState when it has none."""
        return self._fleet.console(namespace, vm)

    async def screenshot(self, namespace: str, vm: str, max_px: int) -> bytes:
        """A VM's screen as PNG, no side longer than `max_px` pixels (0: as it is)."""
        return await self._fleet.screenshot(namespace, vm, max_px)

    async def control(self, namespace: str, verb: Verb, vm: str) -> None:
        """Start, stop or kill one VM; raises InvalidState with the host's words when it refuses."""
        for result in await self._hosts.run(Request(namespace, _operation(verb, vm))):
            if result.error:
                raise InvalidState(result.error, hint=result.hint)


def _operation(verb: Verb, vm: str) -> Operation:
    match verb:
        case Verb.START:
            return StartVms(vm)
        case Verb.STOP:
            return StopVms(vm)
        case Verb.KILL:
            return KillVms(vm)
