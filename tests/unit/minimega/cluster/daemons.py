"""Daemons of a mesh in memory: the real language, commands, fleet and journal, over VMs that are only imagined."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.language import registry
from megatools.minimega.cluster import fanout, sending, topology
from megatools.minimega.cluster.calling import Patience
from megatools.minimega.cluster.control import MeshControl
from megatools.minimega.cluster.fanout import MeshHosts
from megatools.minimega.cluster.host_facts import Commitments, HostFacts
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.answer import Answer, Response
from megatools.minimega.lang.call import ActiveNamespace, Session
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.operation import Handlers
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.pipes.programs import RunProgram
from megatools.minimega.state.journal import Journal
from megatools.minimega.vm.backends.fake import FakeBackend, FakePorts
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.handlers import handlers as vm_handlers
from megatools.minimega.vm.settings import VmSettings


class _NoPromises:
    def commitments(self) -> Commitments:
        """Nothing is promised."""
        return Commitments()


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
    spaces: dict[str, Sequence[str]] = field(default_factory=dict)

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
) -> AsyncIterator[tuple[MemoryNetwork, list[Daemon]]]:
    """Daemons that know each other; namespace `lab` has them all as hosts, any other the host that is asked."""
    network = MemoryNetwork()
    found: list[Daemon] = []
    journals: list[Journal] = []
    async with Supervisor("daemons") as supervisor:
        for name in names:
            role, limit = (roles or {}).get(name, (Role.FULL, ""))
            mesh = network.join(name, role=role, namespace=limit)
            (base / name).mkdir()
            journals.append(Journal(base / name / "journal.db", name))
            daemon = _daemon(base / name, journals[-1], mesh, supervisor, silence_s)
            daemon.spaces["lab"] = names
            found.append(daemon)
        yield network, found
    for journal in journals:
        journal.close()


def _daemon(base: Path, journal: Journal, mesh: MemoryMesh, supervisor: Supervisor, silence_s: float) -> Daemon:
    fleet = Fleet(
        base=base,
        files=base / "files",
        journal=journal,
        network=FakePorts(),
        backends={VmKind.KVM: FakeBackend()},
        supervisor=supervisor,
        settings=VmSettings(accelerator="tcg"),
    )
    vlans = cast("Any", SimpleNamespace(range_text=lambda _namespace: ""))
    namespaces = Namespaces(journal, fleet, vlans, (fleet.destroy,))
    begun, go_on = asyncio.Event(), asyncio.Event()
    handlers = {**vm_handlers(fleet), **HostFacts(_NoPromises()).handlers(), **_program(begun, go_on)}
    here = LocalHosts(mesh.name, handlers)
    patience = Patience(silence_s)
    spaces: dict[str, Sequence[str]] = {}
    hosts = MeshHosts(here, mesh, lambda namespace: spaces.get(namespace, (mesh.name,)), patience)
    fanout.serve(mesh, here, handlers, supervisor)
    topology.serve(mesh)
    none: Any = None
    services = Services(
        hosts, namespaces, ActiveNamespace(), none, none, none, base / "files", none, MeshControl(mesh, patience)
    )
    environment: dict[str, str] = {}
    interpreter = Interpreter(registry(), services, host=mesh.name, files=base / "files", environment=environment)
    sending.serve(mesh, interpreter, supervisor)
    return Daemon(mesh.name, mesh, interpreter, fleet, namespaces, environment, go_on, begun, spaces)
