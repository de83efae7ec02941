"""Writes what is known of VMs to the journal; what the disk refuses is owed, and written once it has room.

Used by `fleet` and `launching`. A change that was refused has happened all the same (a killed VM is dead): whoever
asked for it is told both, and need not ask again::

    save, forget --> journal --refused--> owed --again and again--> journal
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from megatools.hostkit.errors import MegaError, Unavailable, chain_text
from megatools.minimega.state.journal import Change, Delete, Journal, Put
from megatools.minimega.vm import directory
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.records import KIND

_log = logging.getLogger(__name__)
_AGAIN_S = 3.0
_NAMED = 3  # VMs that an error names
_HINT = "is the disk full? it is written once there is room"


class VmJournal:
    """The records of this host's VMs; `run` is its background task."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._owed: dict[str, Machine | None] = {}  # by UUID; None: to be forgotten
        self._refused = asyncio.Event()

    async def save(self, *machines: Machine) -> None:
        """Write VMs as they are. Raises Unavailable; they are written later then."""
        try:
            await self._journal.write(*(put(machine) for machine in machines))
            for machine in machines:
                directory.write_state(machine.site, machine.state)
        except MegaError as error:
            self._owe({machine.uuid: machine for machine in machines})
            states = ", ".join(f'vm "{machine.name}" is {machine.state} now' for machine in machines[:_NAMED])
            raise Unavailable(f"{states}, but that cannot be written down yet", hint=_HINT) from error
        for machine in machines:
            self._owed.pop(machine.uuid, None)

    async def forget(self, machines: Iterable[Machine]) -> None:
        """Write that VMs are gone. Raises Unavailable; it is written later then."""
        gone = {machine.uuid: None for machine in machines}
        try:
            await self._journal.write(*(Delete(KIND, uuid) for uuid in gone))
        except MegaError as error:
            self._owe(gone)
            raise Unavailable(f"{len(gone)} VMs are gone, but that cannot be written down yet", hint=_HINT) from error
        for uuid in gone:
            self._owed.pop(uuid, None)

    def _owe(self, changes: dict[str, Machine | None] | dict[str, Machine] | dict[str, None]) -> None:
        self._owed.update(changes)
        self._refused.set()

    async def run(self) -> None:
        """Write what is owed, until cancelled."""
        while True:
            await self._refused.wait()
            await asyncio.sleep(_AGAIN_S)
            try:
                await self.write_owed()
            except MegaError as error:
                _log.info("%d VMs: %s; tried again", len(self._owed), chain_text(error))

    async def write_owed(self) -> None:
        """Write what is owed now. Raises Unavailable."""
        owed, self._owed = self._owed, {}
        changes: list[Change] = [Delete(KIND, uuid) if vm is None else put(vm) for uuid, vm in owed.items()]
        try:
            await self._journal.write(*changes)
            for machine in owed.values():
                if machine is not None:
                    directory.write_state(machine.site, machine.state)
        except BaseException:
            self._owe(owed | self._owed)  # what was owed meanwhile is newer
            raise
        if not self._owed:
            self._refused.clear()


def put(machine: Machine) -> Put:
    """A VM as it is now, for the journal."""
    return Put(KIND, machine.uuid, machine.namespace, machine.record())
