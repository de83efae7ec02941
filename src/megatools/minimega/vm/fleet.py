"""All VMs of this host: launch them, ask things of them, list them. Made by `app`; asked through `operations`.

Each VM is a `Machine` with a task of its own; this file finds the ones meant and joins their answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec.structs

from megatools.hostkit import facts
from megatools.hostkit.errors import AlreadyExists, InvalidInput, InvalidState, MegaError
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.stamps import ZERO, Stamp, StampClock
from megatools.minimega.vm import directory, rows
from megatools.minimega.vm.asking import ask_all
from megatools.minimega.vm.backend import Backend, Site
from megatools.minimega.vm.changes import Changes, VmChange
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.conflicts import check_conflicts
from megatools.minimega.vm.launching import Launcher
from megatools.minimega.vm.lifecycle import ALIVE, Step, VmState, Wish
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.macs import new_mac
from megatools.minimega.vm.plan import Nic, VmPlan
from megatools.minimega.vm.ports import Ports
from megatools.minimega.vm.recovery import recover_machines
from megatools.minimega.vm.releasing import TapReleaser
from megatools.minimega.vm.rooms import NO_CAPS, Capacity, Caps, Room, commitments, need_of
from megatools.minimega.vm.rows import VmRow, VmSummary
from megatools.minimega.vm.settings import VmSettings
from megatools.minimega.vm.targets import WILDCARD, Selection, VmNotFound, select
from megatools.minimega.vm.writing import VmJournal, put


@dataclass(frozen=True)
class LaunchResult:
    """How one launch ended: an error, or an id."""

    name: str
    id: int
    error: MegaError | None = None


class Fleet:
    """The VMs of one base directory."""

    def __init__(
        self,
        *,
        base: Path,
        files: Path,
        journal: Journal,
        network: Ports,
        backends: Mapping[VmKind, Backend],
        supervisor: Supervisor,
        settings: VmSettings,
        clock: StampClock,
    ) -> None:
        """`clock` stamps what is done with VMs, in one order with what other hosts do."""
        self.base = base
        self.files = files
        self.network = network
        self.backends = backends
        self._journal = journal
        self._supervisor = supervisor
        self._caps = settings.caps
        self._clock = clock
        self._records = VmJournal(journal)
        self._launcher = Launcher(base, journal, self._records, network, backends, settings, clock)
        self._releaser = TapReleaser(self._records, network)
        self._changes = Changes()
        self._machines: dict[str, Machine] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._launched = asyncio.Condition()
        self._next_id = 0
        supervisor.keep("give taps back", self._releaser.run)
        supervisor.keep("write what is owed", self._records.run)
        supervisor.keep("undo failed launches", self._launcher.run)
        self._random = random.SystemRandom()

    # ---- who is there

    def names(self, namespace: str) -> frozenset[str]:
        """The VM names in use in a namespace, those being launched included."""
        return frozenset(machine.name for machine in self._machines.values() if machine.namespace == namespace)

    def residents(self, namespace: str) -> dict[str, str]:
        """The names by UUID of the VMs of a namespace, those being launched included."""
        return {uuid: machine.name for uuid, machine in self._machines.items() if machine.namespace == namespace}

    def uuids(self) -> frozenset[str]:
        """The UUIDs in use on this host."""
        return frozenset(self._machines)

    def capacity(self) -> Capacity:
        """What this host has, and has promised to its VMs, those being launched included."""
        alive = (machine.site.plan.config for machine in self._machines.values() if machine.state in ALIVE)
        memory_mib = facts.memory().total_mib
        return Capacity(facts.host_name(), facts.cpu_count(), memory_mib, commitments(alive), self._caps)

    def machines(self, namespace: str | None = None) -> list[Machine]:
        """The VMs users see, by id; of one namespace or of all."""
        found = [vm for vm in self._machines.values() if vm.listed and namespace in (None, vm.namespace)]
        return sorted(found, key=lambda vm: vm.id)

    def rows(self, namespace: str | None = None) -> list[VmRow]:
        """Full rows, by id; of one namespace or of all."""
        return [rows.row(machine, self.network) for machine in self.machines(namespace)]

    def summaries(self, namespace: str | None = None) -> list[VmSummary]:
        """Short rows, by id."""
        return [rows.summary(machine) for machine in self.machines(namespace)]

    def find(self, namespace: str, name: str) -> Machine:
        """One VM by name, id or UUID. Raises NotFound, InvalidInput for several."""
        found = self.select(namespace, name)
        if found.wild or len(found.matched) + len(found.unmatched) > 1:
            raise InvalidInput(f'"{name}" names more than one vm', hint="this command takes exactly one")
        if found.unmatched:
            raise VmNotFound(found.unmatched)
        return found.matched[0]

    def select(self, namespace: str, target: str) -> Selection[Machine]:
        """The VMs a target names in a namespace. Raises InvalidInput for a malformed target."""
        return select(target, self.machines(namespace))

    def subscribe(self) -> AsyncIterator[VmChange]:
        """Changes of all VMs from now on."""
        return self._changes.subscribe()

    async def recover(self) -> None:
        """Adopt what an earlier daemon left running and clean up the rest; call once, before anything else."""
        found = await recover_machines(self.base, self._journal, self.network, self.backends, self)
        self._next_id = found.next_id
        for machine in found.machines:
            self._machines[machine.uuid] = machine
            for stamp in (machine.last_launch, *machine.written.values()):
                self._clock.saw(stamp)
            self._begin(machine)
            if machine.instance is None:
                self.died(machine)

    # ---- launch

    async def launch(self, plans: Sequence[VmPlan], caps: Caps = NO_CAPS) -> list[LaunchResult]:
        """Launch VMs, held; each by itself succeeds or leaves nothing. One result per plan, in order.

        What this host may not take, by its own caps, those given or what its VMs tolerate, fails.
        """
        machines: dict[str, Machine] = {}
        errors: dict[str, MegaError] = {}
        room = Room(self.capacity(), caps)
        for plan in plans:
            try:
                room.check(need_of(plan.config))
                machines[plan.uuid] = self._register(plan)
                room.take(need_of(plan.config))
            except MegaError as error:
                errors[plan.name] = error
        try:
            failed = await self._launcher.launch(list(machines.values()), self._begin)
        except BaseException:
            await self._drop(machine for machine in machines.values() if not machine.listed)
            raise
        await self._drop(machines[uuid] for uuid in failed)
        errors |= {machines[uuid].name: error for uuid, error in failed.items()}
        return [
            LaunchResult(plan.name, -1 if plan.name in errors else machines[plan.uuid].id, errors.get(plan.name))
            for plan in plans
        ]

    def _register(self, plan: VmPlan) -> Machine:
        """Take a place in the fleet at once, so that no other launch can take the same name or id."""
        if plan.uuid in self._machines:
            raise AlreadyExists(f"duplicate VM UUID: {plan.uuid}")
        check_conflicts(plan, self._machines.values())
        taken = {nic.mac for machine in self._machines.values() for nic in machine.site.plan.nics}
        nics: list[Nic] = []
        for nic in plan.nics:
            mac = nic.mac or new_mac(taken, self._random)
            taken.add(mac)
            nics.append(msgspec.structs.replace(nic, mac=mac))
        plan = msgspec.structs.replace(plan, nics=tuple(nics))
        machine = Machine(Site(plan, self._next_id, self.base / str(self._next_id), ()), self)
        self._next_id += 1
        self._machines[plan.uuid] = machine
        return machine

    def _begin(self, machine: Machine) -> None:
        """It is up, or adopted: its task takes over."""
        self._tasks[machine.uuid] = self._supervisor.start(f"vm {machine.namespace}/{machine.name}", machine.run())
        self.changed(machine)

    async def _drop(self, machines: Iterable[Machine]) -> None:
        """Give up the places of those that were not launched, and tell who waits for launches to end."""
        for machine in list(machines):
            self._machines.pop(machine.uuid, None)
            machine.refuse_waiting()
        async with self._launched:
            self._launched.notify_all()

    # ---- ask

    async def start(self, namespace: str, target: str) -> tuple[str, ...]:
        """Let VMs run; a dead one that is named is launched again. Returns the words that name no VM."""
        return await ask_all(self.select(namespace, target), Wish.START)

    async def stop(self, namespace: str, target: str) -> tuple[str, ...]:
        """Hold VMs."""
        return await ask_all(self.select(namespace, target), Wish.STOP)

    async def kill(self, namespace: str, target: str) -> tuple[str, ...]:
        """End VMs; returns once their processes are gone."""
        return await ask_all(self.select(namespace, target), Wish.KILL)

    async def flush(self, namespace: str, target: str) -> tuple[str, ...]:
        """Forget dead VMs, with their directories and taps."""
        selection = self.select(namespace, target)
        try:
            return await ask_all(selection, Wish.FLUSH)
        finally:
            await self._forget([machine for machine in selection.matched if machine.step is Step.ENDING])

    async def tag(self, machines: Sequence[Machine], changes: Mapping[str, str | None]) -> None:
        """Set tags, or remove those whose value is None, on VMs: all of it, or nothing when the disk refuses."""
        before = [(machine, machine.tags, machine.written) for machine in machines]
        for machine in machines:
            merged = {**machine.tags, **changes}
            machine.tags = {key: value for key, value in merged.items() if value is not None}
            now = self._clock.next(max(machine.written.values(), default=ZERO))
            machine.written = machine.written | dict.fromkeys(changes, now)
        after = [machine.written for machine in machines]
        try:
            await self._journal.write(*(put(machine) for machine in machines))
        except BaseException:
            for (machine, tags, written), ours in zip(before, after, strict=True):
                if machine.written is ours:
                    machine.tags, machine.written = tags, written
            raise
        for machine in machines:
            self.changed(machine)

    async def retag(self, machine: Machine, tags: Mapping[str, str], written: Mapping[str, Stamp]) -> None:
        """Give a VM these tags, written at these times."""
        machine.tags, machine.written = dict(tags), dict(written)
        await self.save(machine)
        self.changed(machine)

    async def rename(self, machine: Machine, name: str, tag: str) -> None:
        """Call a VM something else; a tag tells what it was called."""
        plan = msgspec.structs.replace(machine.site.plan, name=name)
        machine.tags = {**machine.tags, tag: machine.name}
        machine.site = replace(machine.site, plan=plan)
        directory.write_name(machine.site)
        await self.save(machine)
        self.changed(machine)

    def console(self, namespace: str, name: str) -> Path:
        """The VNC socket of a VM. Raises NotFound (no such VM) or InvalidState (it is dead or has no screen)."""
        machine = self.find(namespace, name)
        if machine.site.plan.config.vga == "none" or not self._backend(machine).capabilities().console:
            raise InvalidState(f'vm "{machine.name}" has no console', hint="vm config vga std before the launch")
        if machine.state not in ALIVE:
            raise InvalidState(f'vm "{machine.name}" is {machine.state}', hint=f"vm start {machine.name}")
        return machine.site.directory / "vnc"

    async def screenshot(self, namespace: str, name: str, max_px: int = 0) -> bytes:
        """The screen of a RUNNING VM as PNG, no side longer than `max_px` (0: as it is)."""
        machine = self.find(namespace, name)
        if machine.state is not VmState.RUNNING or machine.instance is None:
            raise InvalidState(f"vm not running: {machine.id}", hint=f"vm start {machine.name}")
        return await machine.instance.screenshot(max_px)

    def _backend(self, machine: Machine) -> Backend:
        return self.backends[machine.site.plan.kind]

    async def destroy(self, namespace: str) -> None:
        """Kill and forget all VMs of a namespace that is destroyed, those still being launched included."""
        await self._launches_done(namespace)
        await self.kill(namespace, WILDCARD)
        await self.flush(namespace, WILDCARD)

    async def close(self, *, kill: bool) -> None:
        """The daemon ends: kill and forget all VMs, or leave them running to be adopted."""
        if kill:
            self._launcher.stop()
            await self._launches_done(None)
            every = Selection(tuple(self.machines()), (), wild=True)
            await ask_all(every, Wish.KILL)
            await ask_all(every, Wish.FLUSH)
            await self._forget(list(every.matched))
            return
        for machine in self.machines():
            if machine.instance is not None:
                await machine.instance.release()

    async def _launches_done(self, namespace: str | None) -> None:
        """Wait until no VM of a namespace, or none at all, is being launched."""

        def settled() -> bool:
            return all(vm.listed or namespace not in (None, vm.namespace) for vm in self._machines.values())

        async with self._launched:
            await self._launched.wait_for(settled)

    async def _forget(self, machines: Sequence[Machine]) -> None:
        if not machines:
            return
        try:
            await self._releaser.settled(machines)
            left = [tap for machine in machines for tap in machine.site.taps]
            if left:
                await self.network.detach(left)
        except BaseException:
            for machine in machines:
                machine.settled()
                self._releaser.release(machine)
            raise
        for machine in machines:
            self._machines.pop(machine.uuid, None)
            self._tasks.pop(machine.uuid).cancel()
            await self._backend(machine).destroy(machine.site)
            await asyncio.to_thread(directory.remove, self.base, machine.site)
            self._publish(machine, removed=True)
        await self._records.forget(machines)

    # ---- what machines call (machine.Hooks)

    async def save(self, machine: Machine) -> None:
        """Journal a VM as it is."""
        await self._records.save(machine)

    def changed(self, machine: Machine) -> None:
        """Tell the feed."""
        self._publish(machine, removed=False)

    def died(self, machine: Machine) -> None:
        """Give its taps back, behind the user's back."""
        self._releaser.release(machine)

    async def relaunch(self, machine: Machine) -> None:
        """Launch a dead VM again, with new taps."""
        Room(self.capacity(), NO_CAPS).check(need_of(machine.site.plan.config))
        await self._releaser.settled([machine])
        if machine.site.taps:
            await self.network.detach(machine.site.taps)
        errors = await self._launcher.launch([machine], self.changed, again=True)
        for error in errors.values():
            raise error

    def addresses_changed(self, mac: str) -> None:
        """The network saw other addresses behind a MAC: tell the feed."""
        for machine in self.machines():
            if any(nic.mac.lower() == mac for nic in machine.site.plan.nics):
                self.changed(machine)

    def _publish(self, machine: Machine, *, removed: bool) -> None:
        self._changes.publish(
            VmChange(machine.uuid, machine.id, machine.name, machine.namespace, machine.state, removed)
        )
