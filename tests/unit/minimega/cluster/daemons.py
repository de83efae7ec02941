"""Daemons of a mesh in memory: the real language, commands, fleet and journal, over VMs that are only imagined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.agreement import Agreement
from megatools.minimega.app.language import registry
from megatools.minimega.cluster import fanout, sending, topology
from megatools.minimega.cluster.bridging import Bridging
from megatools.minimega.cluster.calling import Patience
from megatools.minimega.cluster.control import MeshControl
from megatools.minimega.cluster.fanout import MeshHosts
from megatools.minimega.cluster.host_facts import HostFacts
from megatools.minimega.cluster.hosting import handlers as hosting_handlers
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.cluster.schedule import Scheduler
from megatools.minimega.cluster.spaces import Spaces
from megatools.minimega.cluster.spaces import handlers as spaces_handlers
from megatools.minimega.cluster.survey import handlers as survey_handlers
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.answer import Answer, Response
from megatools.minimega.lang.call import ActiveNamespace, Session
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.operation import Handlers
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.namespace.membership import KIND as SPACE
from megatools.minimega.namespace.membership import Membership, SpaceRecord
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.pipes.programs import RunProgram
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock, wall_ms
from megatools.minimega.vm.backends.fake import FakeBackend, FakePorts
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.handlers import handlers as vm_handlers
from megatools.minimega.vm.settings import VmSettings
from tests.unit.minimega.cluster.ways import FakeWays


@dataclass
class Daemon:
    """One host. `shell WORDS` answers the words, or waits for `go_on` when the first is `wait`."""

    name: str
    mesh: MemoryMesh
    interpreter: Interpreter[Services]
    fleet: Fleet
    namespaces: Namespaces
    environment: dict[str, str]
    go_on: asyncio.Event
    begun: asyncio.Event
    backend: FakeBackend
    agreement: Agreement
    hosts: MeshHosts
    ways: FakeWays
    scheduler: Scheduler

    async def has(self, namespace: str, hosts: Sequence[str]) -> None:
        """Know a namespace with these hosts, as if all nodes had agreed on it."""
        record = SpaceRecord(f"the first {namespace}", hosts=tuple(hosts))
        await self.agreement.shared.put(SPACE, namespace, record)

    async def groups(self, line: str, namespace: str = "minimega") -> list[list[Response]]:
        """The response groups of a line."""
        session = Session(namespace=namespace, source="socket")
        return [output.group or [] async for output in self.interpreter.execute(line, session)]

    async def text(self, line: str, namespace: str = "minimega") -> str:
        """What a user sees of a line on standard output."""
        session = Session(namespace=namespace, source="socket")
        texts = [output.rendered async for output in self.interpreter.execute(line, session)]
        return "\n".join(text for text in texts if text)

    async def errors(self, line: str, namespace: str = "minimega") -> list[tuple[str, str]]:
        """Host and first line of every error of a line."""
        found = [response for group in await self.groups(line, namespace) for response in group if response.error]
        return [(response.host, response.error.partition("\n")[0]) for response in found]


def _program(begun: asyncio.Event, go_on: asyncio.Event) -> Handlers:
    async def run(_namespace: str, asked: RunProgram) -> Answer:
        if asked.argv[0] == "wait":
            begun.set()
            await go_on.wait()
        return Answer(" ".join(asked.argv))

    return {RunProgram: run}


@asynccontextmanager
async def daemons(
    base: Path,
    *names: str,
    roles: dict[str, tuple[Role, str]] | None = None,
    silence_s: float = 5.0,
    agreeing: bool = False,
    skews_ms: dict[str, int] | None = None,
) -> AsyncIterator[tuple[MemoryNetwork, list[Daemon]]]:
    """Daemons that know each other; namespace `lab` has them all as hosts.

    With `agreeing`, shared records travel between them and are obeyed; `skews_ms` says how far clocks are ahead.
    """
    network = MemoryNetwork()
    found: list[Daemon] = []
    journals: list[Journal] = []
    async with Supervisor("daemons") as supervisor:
        for name in names:
            role, limit = (roles or {}).get(name, (Role.FULL, ""))
            mesh = network.join(name, role=role, namespace=limit)
            (base / name).mkdir()
            journals.append(Journal(base / name / "journal.db", name))
            found.append(_daemon(base / name, journals[-1], mesh, supervisor, silence_s, (skews_ms or {}).get(name, 0)))
        for daemon in found:
            await daemon.has("lab", names)
            if agreeing:
                daemon.agreement.start()
        yield network, found
    for journal in journals:
        journal.close()


def _daemon(
    base: Path, journal: Journal, mesh: MemoryMesh, supervisor: Supervisor, silence_s: float, skew_ms: int
) -> Daemon:
    backend = FakeBackend()
    clock = StampClock(mesh.name, lambda: wall_ms() + skew_ms)
    fleet = Fleet(
        base=base,
        files=base / "files",
        journal=journal,
        network=FakePorts(),
        backends={VmKind.KVM: backend},
        supervisor=supervisor,
        settings=VmSettings(accelerator="tcg"),
        clock=clock,
    )
    shared = Shared(journal, clock)
    membership = Membership(shared, mesh.name, lambda: [member.name for member in mesh.members()])
    ways = FakeWays(mesh.name)
    vlans = Vlans(journal)
    namespaces = Namespaces(journal, membership, fleet, vlans, (fleet.destroy, ways.release))
    agreement = Agreement.of(shared, mesh, journal, supervisor, namespaces, fleet, ways, vlans)
    begun, go_on = asyncio.Event(), asyncio.Event()
    of_vms = vm_handlers(fleet)
    handlers = {
        **of_vms,
        **hosting_handlers(of_vms, namespaces, agreement.fences),
        **survey_handlers(fleet),
        **spaces_handlers(namespaces),
        **agreement.settling.handlers(),
        **agreement.twins.handlers(),
        **HostFacts(fleet).handlers(),
        **_program(begun, go_on),
    }
    here = LocalHosts(mesh.name, handlers)
    patience = Patience(silence_s)
    hosts = MeshHosts(here, mesh, membership.hosts, patience, agreement.errands, shared.clock)
    scheduler = Scheduler(hosts, namespaces, agreement.fences, base / "files")
    spaces = Spaces(hosts, namespaces, scheduler)
    fanout.serve(mesh, here, handlers, supervisor, shared.clock)
    topology.serve(mesh)
    none: Any = None
    services = Services(
        hosts,
        namespaces,
        scheduler,
        spaces,
        Bridging(hosts, membership),
        ActiveNamespace(),
        none,
        none,
        none,
        base / "files",
        none,
        MeshControl(mesh, patience, clock=shared.clock),
        none,
        none,
    )
    environment: dict[str, str] = {}
    interpreter = Interpreter(registry(), services, host=mesh.name, files=base / "files", environment=environment)
    sending.serve(mesh, interpreter, supervisor, shared.clock)
    made = (begun, backend, agreement, hosts, ways, scheduler)
    return Daemon(mesh.name, mesh, interpreter, fleet, namespaces, environment, go_on, *made)
