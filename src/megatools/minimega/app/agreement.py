"""What all nodes agree on, and who acts on it on this one: put together here, started by `parts`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.councils import Councils
from megatools.minimega.cluster.errands import Errands
from megatools.minimega.cluster.fences import Fences
from megatools.minimega.cluster.replication import Replication
from megatools.minimega.cluster.settling import Settling, Ways
from megatools.minimega.cluster.twins import Twins
from megatools.minimega.mesh.mesh import Mesh
from megatools.minimega.namespace.following import Follower
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.vm.fleet import Fleet


@dataclass(frozen=True)
class Agreement:
    """The shared records, what carries them, and what obeys them."""

    shared: Shared
    replication: Replication
    follower: Follower
    fences: Fences
    errands: Errands
    settling: Settling
    councils: Councils
    twins: Twins
    supervisor: Supervisor

    @classmethod
    def of(
        cls,
        shared: Shared,
        mesh: Mesh,
        journal: Journal,
        supervisor: Supervisor,
        namespaces: Namespaces,
        fleet: Fleet,
        ways: Ways,
        vlans: Vlans,
        may_ask: Callable[[], bool] = lambda: True,
    ) -> Self:
        """All of it for one daemon; `may_ask` says whether others take this node's records."""
        errands = Errands(shared, fleet, mesh.name, may_ask)
        replication = Replication(mesh, shared, journal, supervisor)
        membership = namespaces.membership
        settling = Settling(membership, ways, lambda: not mesh.members())
        councils = Councils.of(mesh, journal, supervisor, replication, membership, vlans)
        fences = Fences(shared, fleet, mesh.name, councils.roster.names)
        twins = Twins(fleet, mesh.name)
        return cls(shared, replication, Follower(namespaces), fences, errands, settling, councils, twins, supervisor)

    def start(self) -> None:
        """Carry records, and act on them; call once all of this host is recovered."""
        self.replication.start()
        self.councils.start(self.supervisor)
        self.supervisor.keep("follow namespaces", self.follower.run)
        self.supervisor.keep("obey fences", self.fences.run)
        self.supervisor.keep("postponed commands", self.errands.run)
        self.supervisor.keep("join bridges", self.settling.run)

    async def leave(self) -> None:
        """This host is told to quit: the others need not wait for it any more, and are told so."""
        await self.councils.roster.leave()
        await self.replication.tell(self.councils.roster.entries())
