"""How VMs come to be, many at once and whole or not at all. Used by `fleet`.

::

    directories                     one worker thread
    overlays, checks                each VM by itself
    journal: intents                one write
    network: taps                   all of them
    network: ports  |  processes    one transaction, and meanwhile some processes at a time (their monitor greets)
    journal: launched               one group
    what failed                     undone, each VM by itself, ports in one batch

A VM that fails does not hold up the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from megatools.hostkit.errors import MegaError, Unavailable, chain_text
from megatools.minimega.state.journal import Journal, Put
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm import directory
from megatools.minimega.vm.backend import Backend
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.ports import Port, Ports
from megatools.minimega.vm.records import KIND
from megatools.minimega.vm.settings import VmSettings
from megatools.minimega.vm.writing import VmJournal, put

_log = logging.getLogger(__name__)
_AGAIN_S = 3.0
_SETTLING = 500  # journal writes waiting at once; they are committed in groups


class Launcher:
    """Launches machines whose tasks do not run, or for their own tasks."""

    def __init__(
        self,
        base: Path,
        journal: Journal,
        records: VmJournal,
        network: Ports,
        backends: Mapping[VmKind, Backend],
        settings: VmSettings,
        clock: StampClock,
    ) -> None:
        self._base = base
        self._clock = clock
        self._journal = journal
        self._records = records
        self._network = network
        self._backends = backends
        self._spawning = asyncio.Semaphore(settings.concurrent_spawns)
        self._preparing = asyncio.Semaphore(settings.concurrent_spawns)
        self._settling = asyncio.Semaphore(_SETTLING)
        self._stopping = False
        self._left: list[Machine] = []  # failed launches that are not undone
        self._is_left = asyncio.Event()

    def stop(self) -> None:
        """Start nothing more; launches on their way fail for the VMs that have no process yet."""
        self._stopping = True

    async def launch(
        self, machines: Sequence[Machine], on_ready: Callable[[Machine], None], *, again: bool = False
    ) -> dict[str, MegaError]:
        """Launch all; `on_ready` is called for each that is up and journaled. Returns the errors by UUID.

        `again`: these VMs were launched before, and their directories and records stay when it fails.
        """
        attempt = _Attempt(machines)
        try:
            await attempt.all(self._make)
            await attempt.each(self._preparing, self._prepare)
            await attempt.all(self._intend)
            await attempt.all(self._make_taps)
            async with asyncio.TaskGroup() as group:  # the switch and the processes are busy on different processors
                group.create_task(attempt.all(self._plug))
                group.create_task(attempt.each(self._spawning, self._spawn))
            await attempt.each(self._settling, lambda machine: self._settle(machine, attempt, on_ready))
        finally:
            await self._undo(attempt.unfinished(), again=again)
        return attempt.errors

    async def _make(self, machines: Sequence[Machine]) -> None:
        """Make the directories, in one worker thread: a slow disk must not stop the loop."""
        await asyncio.to_thread(directory.make_all, self._base, [machine.site for machine in machines])

    async def _prepare(self, machine: Machine) -> None:
        await self._backend(machine).prepare(machine.site)

    async def _intend(self, machines: Sequence[Machine]) -> None:
        """Name the taps and journal what is about to be made, so that a crash can undo it."""
        names = iter(self._network.new_tap_names(sum(len(machine.site.plan.nics) for machine in machines)))
        for machine in machines:
            taps = tuple(next(names) for _ in machine.site.plan.nics)
            machine.site = replace(machine.site, taps=taps, offload=self._network.offloads)
        await self._journal.write(*(put(machine) for machine in machines))

    async def _make_taps(self, machines: Sequence[Machine]) -> None:
        await self._network.make(_ports(machines))

    async def _plug(self, machines: Sequence[Machine]) -> None:
        await self._network.plug(_ports(machines))

    async def _spawn(self, machine: Machine) -> None:
        if self._stopping:
            raise Unavailable("minimega is ending")
        directory.write_taps(machine.site)
        instance = await self._backend(machine).launch(machine.site, machine.listener())
        machine.launched(instance, self._clock.next(machine.last_launch))

    async def _settle(self, machine: Machine, attempt: _Attempt, on_ready: Callable[[Machine], None]) -> None:
        await self._journal.write(Put(KIND, machine.uuid, machine.namespace, machine.record(launched=True)))
        machine.settled()
        attempt.finish(machine)
        on_ready(machine)

    async def run(self) -> None:
        """Undo what could not be undone at once, until cancelled."""
        while True:
            await self._is_left.wait()
            await asyncio.sleep(_AGAIN_S)
            self._is_left.clear()
            left, self._left = self._left, []
            await self._undo(left, again=False)

    async def _undo(self, machines: Sequence[Machine], *, again: bool) -> None:
        if not machines:
            return
        await asyncio.gather(*(_end(machine) for machine in machines))
        taps = [tap for machine in machines for tap in machine.site.taps]
        try:
            if taps:
                await self._network.detach(taps)
        except MegaError as error:  # the records stay: the next start would undo the rest too
            _log.warning("%d taps of failed launches stay for now: %s", len(taps), chain_text(error))
            if not again:
                self._left += machines
                self._is_left.set()
            return
        for machine in machines:
            await self._backend(machine).destroy(machine.site)
            machine.without_taps()
            if not again:
                await asyncio.to_thread(directory.remove, self._base, machine.site)
        if again:
            return
        try:
            await self._records.forget(machines)
        except MegaError as error:  # of those that were launched all is written down
            _log.warning("failed launches: %s", chain_text(error))

    def _backend(self, machine: Machine) -> Backend:
        backend = self._backends.get(machine.site.plan.kind)
        if backend is None:
            raise Unavailable(f'virtual machines of type "{machine.site.plan.kind}" are not available yet')
        return backend


class _Attempt:
    """One batch on its way: who is still in it, who made it, who failed and why."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = {machine.uuid: machine for machine in machines}
        self._finished: set[str] = set()
        self.errors: dict[str, MegaError] = {}

    def going(self) -> list[Machine]:
        """Those without an error."""
        return [machine for uuid, machine in self._machines.items() if uuid not in self.errors]

    def finish(self, machine: Machine) -> None:
        """It has a process."""
        self._finished.add(machine.uuid)

    def fail(self, machine: Machine, error: MegaError) -> None:
        """It goes no further."""
        _log.info('vm "%s": launch failed: %s', machine.name, error)
        self.errors[machine.uuid] = error

    def unfinished(self) -> list[Machine]:
        """Those that have no process."""
        return [machine for uuid, machine in self._machines.items() if uuid not in self._finished]

    async def each(self, limit: asyncio.Semaphore, step: Callable[[Machine], Awaitable[None]]) -> None:
        """One step for every VM by itself."""

        async def one(machine: Machine) -> None:
            async with limit:
                try:
                    await step(machine)
                except MegaError as error:
                    self.fail(machine, error)
                except OSError as error:  # a full disk, no descriptors left
                    refused = Unavailable(f'cannot make vm "{machine.name}" in "{machine.site.directory}"')
                    refused.__cause__ = error
                    self.fail(machine, refused)

        async with asyncio.TaskGroup() as group:
            for machine in self.going():
                group.create_task(one(machine))

    async def all(self, step: Callable[[Sequence[Machine]], Awaitable[None]]) -> None:
        """One step for all VMs together; it fails for all."""
        machines = self.going()
        if not machines:
            return
        try:
            await step(machines)
        except MegaError as error:
            for machine in machines:
                self.fail(machine, error)


async def _end(machine: Machine) -> None:
    """No such VM after all: end its process, if it has one."""
    instance, machine.instance = machine.instance, None
    if instance is not None:
        await instance.end()


def _ports(machines: Sequence[Machine]) -> list[Port]:
    return [port for machine in machines for port in ports_of(machine)]


def ports_of(machine: Machine) -> list[Port]:
    """A VM's ports, in the order of its interfaces."""
    plan = machine.site.plan
    return [
        Port(tap, nic.bridge, nic.vlan, plan.namespace, plan.uuid, nic.mac)
        for tap, nic in zip(machine.site.taps, plan.nics, strict=True)
    ]
