r"""What a daemon is made of, put together in one place: the only file that knows all parts.

journal -> network stack -> backends -> fleet -> namespaces -> hosts -> commands -> interpreter
                                                                   \-> pages
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from megatools.hostkit import facts
from megatools.hostkit.cgroups import Cgroups
from megatools.hostkit.errors import MegaError
from megatools.hostkit.logcontrol import LogControl
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.agreement import Agreement
from megatools.minimega.app.completion import suggesters
from megatools.minimega.app.deploying import deployment
from megatools.minimega.app.ending import EndControl
from megatools.minimega.app.home import Home
from megatools.minimega.app.language import registry
from megatools.minimega.app.membership import make_cluster
from megatools.minimega.app.meshing import make_mesh, unlimited
from megatools.minimega.app.settings import Settings
from megatools.minimega.cluster import fanout, sending, topology
from megatools.minimega.cluster.bridging import Bridging
from megatools.minimega.cluster.calling import Patience
from megatools.minimega.cluster.control import MeshControl
from megatools.minimega.cluster.enrolling import ClusterControl
from megatools.minimega.cluster.fanout import MeshHosts
from megatools.minimega.cluster.host_check import HostCheck
from megatools.minimega.cluster.host_facts import HostFacts
from megatools.minimega.cluster.hosting import handlers as hosting_handlers
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.cluster.schedule import Scheduler
from megatools.minimega.cluster.spaces import Spaces
from megatools.minimega.cluster.spaces import handlers as spaces_handlers
from megatools.minimega.cluster.survey import handlers as survey_handlers
from megatools.minimega.commands.services import Services
from megatools.minimega.files.coming import handlers as files_handlers
from megatools.minimega.files.fetching import ClusterFetcher
from megatools.minimega.files.images import Images
from megatools.minimega.files.library import Library
from megatools.minimega.files.store import FileStore
from megatools.minimega.lang.call import ActiveNamespace
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.operation import Handler, Operation
from megatools.minimega.mesh.clique import ZenohMesh
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.engine_process import Started
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.net.operations import handlers as net_handlers
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.pipes.programs import Programs
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm.backends.kvm.backend import KvmBackend
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.handlers import handlers as vm_handlers
from megatools.minimega.vm.rooms import Caps
from megatools.minimega.vm.settings import VmSettings
from megatools.minimega.web.everywhere import EveryFleet
from megatools.minimega.web.local import LocalFleet
from megatools.minimega.web.server import WebServer


@dataclass(frozen=True)
class Parts:
    """The parts that the daemon's life needs by name."""

    supervisor: Supervisor
    interpreter: Interpreter[Services]
    active: ActiveNamespace
    journal: Journal
    stack: NetworkStack
    fleet: Fleet
    namespaces: Namespaces
    programs: Programs
    web: WebServer
    mesh: ZenohMesh
    agreement: Agreement
    cluster: ClusterControl

    async def recover(self) -> None:
        """Adopt what an earlier daemon left; in this order: VMs need their ports, namespaces their VMs.

        Only then is this host a member of the mesh: what it is asked, it can answer.
        """
        await self.stack.recover()
        await self.fleet.recover()
        self.agreement.shared.recover()
        self.namespaces.recover()
        self.agreement.start()
        self.cluster.start(self.supervisor)
        self.mesh.announce()

    @property
    def has_saved(self) -> bool:
        """Whether there are saved configurations, which outlive a quit."""
        return any(self.namespaces.get(name).saved_names() for name in self.namespaces.names())

    async def release(self, *, remove: bool) -> None:
        """Let go of everything; with `remove`, take it down first. Goes on after a failure and raises the first."""
        failures: list[MegaError] = []
        steps = [
            self.cluster.enrolment.close(),
            self.mesh.close(),
            self.web.stop(),
            self.fleet.close(kill=remove),
            self.stack.close(remove=remove),
            self.programs.close(),
        ]
        if remove:
            steps = [self.agreement.leave(), *steps, self.namespaces.forget()]
        for step in steps:
            try:
                await step
            except MegaError as error:
                failures.append(error)
        self.journal.close()
        if failures:
            raise failures[0]


@contextlib.asynccontextmanager
async def open_parts(
    settings: Settings, home: Home, control: EndControl, logs: LogControl, prepared: Started | None
) -> AsyncGenerator[Parts]:
    """Make all parts; background tasks end with the block."""
    host = facts.host_name()
    journal = Journal(home.journal, host)
    async with Supervisor("minimega") as supervisor:
        credentials = CredentialStore(settings.cluster_dir, host)
        mesh = make_mesh(settings, host, credentials, supervisor, prepared)
        clock = StampClock(host)
        stack, fleet = _machines(settings, home, journal, supervisor, clock)
        shared = Shared(journal, clock)
        membership = Membership(shared, host, lambda: [member.name for member in mesh.members() if not member.doubled])
        namespaces = Namespaces(journal, membership, fleet, stack.vlans, (fleet.destroy, stack.release))
        ways = (stack.joining, stack.vlans, unlimited(settings, credentials))
        agreement = Agreement.of(shared, mesh, journal, supervisor, namespaces, fleet, *ways)
        programs = Programs(supervisor, home.base / "background")
        library = Library(mesh, FileStore(home.files), supervisor)
        handlers = _handlers(settings, stack, fleet, programs, library, namespaces, agreement)
        here = LocalHosts(host, handlers)
        patience = Patience(settings.mesh_timeout)
        patience.silence_s = settings.mesh_timeout  # a bad one is refused
        hosts = MeshHosts(here, mesh, membership.hosts, patience, agreement.errands, clock)
        fanout.serve(mesh, here, handlers, supervisor, clock)
        supervisor.keep("tell twins apart", lambda: agreement.twins.run(mesh, hosts, membership))
        topology.serve(mesh)
        active = ActiveNamespace()
        web = WebServer(EveryFleet(LocalFleet(hosts, fleet), hosts, mesh, supervisor), supervisor)
        control_of_mesh = MeshControl(mesh, patience, settings.degree, int(settings.msa), clock)
        scheduler = Scheduler(hosts, namespaces, agreement.fences, home.files)
        library.lend(scheduler.awaited)
        doors = (hosts, namespaces, scheduler, Spaces(hosts, namespaces, scheduler), Bridging(hosts, membership))
        cluster = make_cluster(settings, credentials, mesh, agreement, supervisor)
        others = (library, control_of_mesh, deployment(settings, host, credentials, cluster.roll.authorities), cluster)
        services = Services(*doors, active, web, control, logs, home.files, *others)
        interpreter = Interpreter(
            registry(),
            services,
            host=host,
            files=home.files,
            suggesters=suggesters(fleet, stack, namespaces),
            fetcher=ClusterFetcher(library),
        )
        sending.serve(mesh, interpreter, supervisor, clock)
        late = (web, mesh, agreement, cluster)
        yield Parts(supervisor, interpreter, active, journal, stack, fleet, namespaces, programs, *late)


def _machines(
    settings: Settings, home: Home, journal: Journal, supervisor: Supervisor, clock: StampClock
) -> tuple[NetworkStack, Fleet]:
    """The network of this host and the VMs on it."""
    owner = hashlib.sha256(str(home.base.resolve()).encode()).hexdigest()[:16]

    def heard(mac: str) -> None:
        fleet.addresses_changed(mac)  # made below; nothing is heard before it is

    stack = NetworkStack(
        base=home.base,
        journal=journal,
        ovs=OvsSettings(settings.ovs_run_dir),
        vlan_limits=settings.vlan_range(),
        events=heard,
        own_address=settings.own_address,
    )
    vm_settings = VmSettings(accelerator=settings.accel, caps=Caps(settings.cpu_cap, settings.memory_cap))
    backend = KvmBackend(vm_settings, Cgroups(owner), supervisor)
    fleet = Fleet(
        base=home.base,
        files=home.files,
        journal=journal,
        network=stack.network,
        backends={VmKind.KVM: backend},
        supervisor=supervisor,
        settings=vm_settings,
        clock=clock,
    )
    return stack, fleet


def _handlers(
    settings: Settings,
    stack: NetworkStack,
    fleet: Fleet,
    programs: Programs,
    library: Library,
    namespaces: Namespaces,
    agreement: Agreement,
) -> dict[type[Operation], Handler]:
    of_vms = vm_handlers(fleet, Images(library))
    return {
        **of_vms,
        **hosting_handlers(of_vms, namespaces, agreement.fences),
        **survey_handlers(fleet),
        **spaces_handlers(namespaces),
        **agreement.settling.handlers(),
        **agreement.twins.handlers(),
        **net_handlers(stack),
        **programs.handlers(),
        **files_handlers(library),
        **HostFacts(fleet).handlers(),
        **HostCheck(settings.accel).handlers(),
    }
