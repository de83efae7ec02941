"""The pages' view of this host's virtual machines; made by `app`, and joined with other hosts' by `everywhere`.

What is listed comes from the fleet; what is asked of a VM goes the way commands go, through `Hosts`.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import msgspec

from megatools.hostkit.errors import InvalidState, Unavailable
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.lang.answer import Answer, Table, rows_table
from megatools.minimega.lang.operation import Operation, Request
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.operations import KillVms, StartVms, StopVms, TakeScreenshot
from megatools.minimega.vm.rows import VmRow
from megatools.minimega.vnc.relay import Console, connect
from megatools.minimega.web.fleet import Row, Verb


class LocalFleet:
    """The VMs of this host, and requests to whichever host has a VM."""

    def __init__(self, hosts: Hosts, fleet: Fleet) -> None:
        self._hosts = hosts
        self._fleet = fleet

    @property
    def host(self) -> str:
        """The name of this host."""
        return self._hosts.local

    def table(self) -> Table:
        """Every VM here: the columns of `vm info`, after two called `host` and `namespace`."""
        table = rows_table(VmRow, self._fleet.rows())
        spaces = [machine.namespace for machine in self._fleet.machines()]
        rows = tuple((self.host, space, *cells) for space, cells in zip(spaces, table.rows, strict=True))
        return Table(("host", "namespace", *table.header), rows)

    def changes(self) -> AsyncIterator[object]:
        """Yields whenever something about a VM here changed."""
        return self._fleet.subscribe()

    async def console(self, namespace: str, vm: str) -> Console:
        """A connection to a VM's console here. Raises NotFound, InvalidState, Unavailable."""
        return await connect(self._fleet.console(namespace, vm))

    async def screenshot(self, vm: Row, max_px: int) -> bytes:
        """A VM's screen as PNG, from the host that has it."""
        if vm["host"] == self.host:
            return await self._fleet.screenshot(vm["namespace"], vm["uuid"], max_px)
        answer = await self._ask(vm, TakeScreenshot(vm["uuid"], keep=False, max_px=max_px))
        if answer.data is None:
            raise Unavailable(f'"{vm["host"]}" sent no picture')
        return base64.b64decode(msgspec.json.decode(answer.data, type=str))

    async def control(self, vm: Row, verb: Verb) -> None:
        """Start, stop or kill one VM; raises InvalidState with the host's words when it refuses."""
        await self._ask(vm, _operation(verb, vm["uuid"]))

    async def _ask(self, vm: Row, operation: Operation) -> Answer:
        (result,) = await self._hosts.run(Request(vm["namespace"], operation, (vm["host"],)))
        if result.answer is None:
            message, _, hint = (result.error or f"{result.host}: {result.outcome}").partition("\nhint: ")
            raise InvalidState(message, hint=hint)
        return result.answer


def _operation(verb: Verb, vm: str) -> Operation:
    match verb:
        case Verb.START:
            return StartVms(vm)
        case Verb.STOP:
            return StopVms(vm)
        case Verb.KILL:
            return KillVms(vm)
