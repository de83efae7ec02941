"""What an earlier daemon left: adopt the living, list the dead, undo what was half made. Used by `fleet.recover`.

::

    record, launched, process lives    adopted: its monitor says whether it runs
    record, launched, process gone     QUIT (ERROR stays ERROR); its taps are given back
    record, not launched               never acknowledged: killed if it lives, taps, directory and record removed
    record of an unknown kind of VM    kept, untouched
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit.errors import Corrupt, MegaError, Unavailable, chain_text
from megatools.minimega.state.journal import Delete, Journal, Put, decode
from megatools.minimega.vm import directory
from megatools.minimega.vm.backend import Backend, Site
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.lifecycle import ALIVE, VmState
from megatools.minimega.vm.machine import ERROR_TAG, Hooks, Machine
from megatools.minimega.vm.ports import Ports
from megatools.minimega.vm.records import KIND, RecordHead, VmRecord

_log = logging.getLogger(__name__)
_AT_ONCE = 32


@dataclass(frozen=True)
class Found:
    """The VMs there are again, and the first id that no VM ever had."""

    machines: Sequence[Machine]
    next_id: int


async def recover_machines(
    base: Path, journal: Journal, network: Ports, backends: Mapping[VmKind, Backend], hooks: Hooks
) -> Found:
    """Bring back what the journal knows; journals what changed."""
    records, next_id = _read(journal, backends)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(record: VmRecord) -> Machine | None:
        async with limit:
            return await _revive(base, record, backends[VmKind(record.backend)], hooks)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(record)) for record in records]
    machines = [machine for task in tasks if (machine := task.result()) is not None]
    await _undo_unfinished(base, [record for record in records if not record.launched], journal, network)
    await journal.write(*(Put(KIND, vm.uuid, vm.namespace, vm.record()) for vm in machines))
    return Found(machines, next_id)


def _read(journal: Journal, backends: Mapping[VmKind, Backend]) -> tuple[list[VmRecord], int]:
    known = {kind.value for kind in backends}
    records: list[VmRecord] = []
    next_id = 0
    for entry in journal.read(KIND):
        try:
            head = decode(entry, RecordHead)
            next_id = max(next_id, head.id + 1)
            if head.backend in known:
                records.append(decode(entry, VmRecord))
            else:
                _log.warning('vm record "%s" is of type "%s", which is not known here: kept', entry.id, head.backend)
        except Corrupt as error:
            _log.error("%s: kept, not adopted", chain_text(error))
    return records, next_id


async def _revive(base: Path, record: VmRecord, backend: Backend, hooks: Hooks) -> Machine | None:
    """A machine for a record; None when its launch was never acknowledged."""
    site = Site(record.plan, record.id, base / str(record.id), record.taps)
    machine = Machine(site, hooks)
    machine.restore(record)
    machine.instance = await backend.adopt(site, record.identity, machine.listener())
    if not record.launched:
        if machine.instance is not None:
            await machine.instance.end()
        await backend.destroy(site)
        return None
    if machine.instance is None:
        machine.state = VmState.QUIT if record.state in ALIVE else record.state
        return machine
    machine.state = await _state_of(machine, record.state)
    return machine


async def _state_of(machine: Machine, recorded: VmState) -> VmState:
    """The state of a VM that lives; one whose monitor is silent keeps the recorded one, with a tag that says so."""
    assert machine.instance is not None
    try:
        running = await machine.instance.running()
    except Unavailable as error:
        machine.tags[ERROR_TAG] = chain_text(error)
        return recorded if recorded in ALIVE else VmState.PAUSED
    if running:
        return VmState.RUNNING
    return VmState.BUILDING if recorded not in (VmState.RUNNING, VmState.PAUSED) else VmState.PAUSED


async def _undo_unfinished(base: Path, records: Sequence[VmRecord], journal: Journal, network: Ports) -> None:
    taps = [tap for record in records for tap in record.taps]
    try:
        if taps:
            await network.detach(taps)
    except MegaError as error:
        _log.warning("taps of unfinished launches stay until the next start: %s", chain_text(error))
        return
    for record in records:
        site = Site(record.plan, record.id, base / str(record.id), record.taps)
        await asyncio.to_thread(directory.remove, base, site)
        _log.info('launch of vm "%s" was not finished: undone', record.plan.name)
    await journal.write(*(Delete(KIND, record.plan.uuid) for record in records))
