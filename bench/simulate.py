"""A cluster without machines: VMs placed on hosts, launched over a mesh in memory, and listed in one table.

Hosts are nodes of one process that take launches and remember them; everything else is what a daemon runs: names, the
queue and its journal, the survey of all hosts, placement, requests encoded and decoded for every host, results per VM,
`vm info summary` of all hosts merged and rendered. Nothing is booted. Three sizes show how the cost grows.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from bench.promise import Options, Result
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster import fanout
from megatools.minimega.cluster.calling import Patience
from megatools.minimega.cluster.fanout import MeshHosts
from megatools.minimega.cluster.fences import Fences
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.cluster.placement import place
from megatools.minimega.cluster.schedule import Scheduler, Wanted
from megatools.minimega.cluster.survey import handlers as survey_handlers
from megatools.minimega.lang.answer import Answer, Group, response_of, rows_table
from megatools.minimega.lang.operation import Handlers, Request
from megatools.minimega.lang.options import Options as Shown
from megatools.minimega.lang.render import render
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.namespace.membership import KIND, Membership, SpaceRecord
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm.config import NicSpec, VmConfig, VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.lifecycle import VmState
from megatools.minimega.vm.operations import LaunchVms, VmInfo
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.rooms import Capacity, commitments
from megatools.minimega.vm.rows import VmSummary, vlan_text

SIZES = ((1_000, 10), (10_000, 100), (100_000, 1_000))
LIMIT_S = 10.0
_NAMESPACE = "lab"
_AT_ONCE = 10_000
_SILENCE_S = 600.0  # one process plays all hosts: nobody is silent for any reason but this


@dataclass
class SimulatedHost:
    """A host that launches what it is asked to, at once."""

    name: str
    cpus: int
    plans: dict[str, VmPlan] = field(default_factory=dict[str, VmPlan])

    def capacity(self) -> Capacity:
        """Hosts of several sizes."""
        promised = commitments(plan.config for plan in self.plans.values())
        return Capacity(self.name, self.cpus, self.cpus * 4096, promised)

    def residents(self, namespace: str) -> dict[str, str]:
        """All VMs are of the one namespace."""
        return {uuid: plan.name for uuid, plan in self.plans.items()}

    def handlers(self) -> Handlers:
        """What a driver asks of it."""

        async def launch(_namespace: str, asked: LaunchVms) -> Answer:
            self.plans.update({plan.uuid: plan for plan in asked.plans})
            return Answer()

        async def info(_namespace: str, _asked: VmInfo) -> Answer:
            return Answer(
                table=rows_table(VmSummary, [_summary(at, plan) for at, plan in enumerate(self.plans.values())])
            )

        return {LaunchVms: launch, VmInfo: info, **survey_handlers(self)}


def _summary(number: int, plan: VmPlan) -> VmSummary:
    vlans = tuple(vlan_text(nic) for nic in plan.nics)
    return VmSummary(number, plan.name, VmState.BUILDING, plan.kind, plan.uuid, False, vlans)


class Nobody:
    """The driver launches nothing itself."""

    def names(self, namespace: str) -> frozenset[str]:
        """No VM."""
        return frozenset()

    def uuids(self) -> frozenset[str]:
        """No VM."""
        return frozenset()


@dataclass
class Phases:
    """Seconds of wall time by phase, in order; and of what happened before, for comparison."""

    seconds: dict[str, float] = field(default_factory=dict[str, float])
    before: dict[str, float] = field(default_factory=dict[str, float])
    cpu_s: float = 0.0

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time a block."""
        began, busy = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - began
            self.cpu_s += time.process_time() - busy

    @property
    def total_s(self) -> float:
        """All phases."""
        return sum(self.seconds.values())


def run(_options: Options) -> Iterable[Result]:
    """One line per size; the largest has a limit."""
    for vms, hosts in SIZES:
        phases = asyncio.run(simulate(vms, hosts))
        timed = {**phases.seconds, **phases.before}
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in timed.items())
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        note = f"s: {parts}; CPU {phases.cpu_s:.2f}; {phases.total_s / vms * 1e6:.0f} us a VM; peak {peak_mib:.0f} MiB"
        yield Result(f"simulate: {vms:,} VMs on {hosts:,} hosts", phases.total_s, "s", 0, 0, LIMIT_S, False, note)


async def simulate(vms: int, hosts: int) -> Phases:
    """Queue, place, launch and list VMs once. Raises when not every VM ended up on a host."""
    phases = Phases()
    network = MemoryNetwork()
    with tempfile.TemporaryDirectory() as directory:
        journal = Journal(Path(directory) / "journal.db", "driver")
        async with Supervisor("simulation") as supervisor:
            machines = [SimulatedHost(f"kn{number}", (8, 16, 64)[number % 3]) for number in range(1, hosts + 1)]
            for machine in machines:
                handlers = machine.handlers()
                mesh = network.join(machine.name)
                fanout.serve(mesh, LocalHosts(machine.name, handlers), handlers, supervisor)
            driver = await _driver(network, journal, [machine.name for machine in machines])
            await _use(driver, vms, phases)
            placed = sum(len(machine.plans) for machine in machines)
        journal.close()
    if placed != vms:
        raise AssertionError(f"{placed} of {vms} VMs were placed")
    return phases


@dataclass(frozen=True)
class Driver:
    """The node that launches."""

    hosts: MeshHosts
    namespaces: Namespaces
    scheduler: Scheduler


async def _driver(network: MemoryNetwork, journal: Journal, names: list[str]) -> Driver:
    mesh: MemoryMesh = network.join("driver")
    shared = Shared(journal, StampClock(mesh.name))
    membership = Membership(shared, mesh.name, lambda: [member.name for member in mesh.members()])
    namespaces = Namespaces(journal, membership, Nobody(), Vlans(journal), ())
    await shared.put(KIND, _NAMESPACE, SpaceRecord("the only one", hosts=tuple(names)))
    hosts = MeshHosts(LocalHosts(mesh.name, {}), mesh, membership.hosts, Patience(_SILENCE_S))
    fences = Fences(
        shared, cast("Fleet", Nobody()), mesh.name, lambda: ()
    )  # the driver only writes them, and obeys none
    return Driver(hosts, namespaces, Scheduler(hosts, namespaces, fences, Path("/files")))


async def _use(driver: Driver, vms: int, phases: Phases) -> None:
    space = await driver.namespaces.ensure(_NAMESPACE)
    await space.set_config(VmConfig(memory_mib=512, networks=(NicSpec("lan"), NicSpec("management"))))
    await space.change(queueing=True)
    began = time.perf_counter()
    for begin in range(0, vms, _AT_ONCE):
        count = min(_AT_ONCE, vms - begin)
        await driver.scheduler.launch(Wanted(_NAMESPACE, VmKind.KVM, str(count)), _quiet)
    phases.before["queued"] = time.perf_counter() - began
    draft = await driver.scheduler.dry_run(_NAMESPACE)
    began = time.perf_counter()
    place(draft.problem)
    phases.before["placing alone"] = time.perf_counter() - began
    driver.scheduler.desk(_NAMESPACE).draft = None
    with phases.phase("place and launch"):
        group = await driver.scheduler.launch_queue(_NAMESPACE, _quiet)
    if any(response.error for response in group):
        raise AssertionError(group)
    with phases.phase("list all"):
        text = await _report(driver.hosts)
    if text.count("\n") != vms:
        raise AssertionError(f"the table has {text.count(chr(10))} rows")


async def _report(hosts: MeshHosts) -> str:
    group: Group = []
    for result in await hosts.run(Request(_NAMESPACE, VmInfo(summary=True))):
        if result.answer is None:
            raise AssertionError(result.error)
        group.append(response_of(result.host, result.answer))
    return render(group, Shown())


def _quiet(_text: str) -> None:
    """Nobody watches."""
