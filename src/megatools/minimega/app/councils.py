"""This host's part in deciding about VLAN names with the others, put together; started by `agreement`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.authority import Authority
from megatools.minimega.cluster.replication import Replication
from megatools.minimega.cluster.roster import Roster
from megatools.minimega.cluster.vlan_care import VlanCare
from megatools.minimega.cluster.vlan_tables import VlanTables
from megatools.minimega.cluster.voting import Voting
from megatools.minimega.mesh.mesh import Mesh
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.journal_id import journal_id


@dataclass(frozen=True)
class Councils:
    """Who there is, who decides for this host, and what keeps the tables in order."""

    roster: Roster
    authority: Authority
    care: VlanCare
    vlans: Vlans

    @classmethod
    def of(
        cls,
        mesh: Mesh,
        journal: Journal,
        supervisor: Supervisor,
        replication: Replication,
        membership: Membership,
        vlans: Vlans,
    ) -> Self:
        """All of it for one daemon."""
        shared = membership.shared
        roster = Roster(shared, mesh.name, journal_id(journal))
        tables = VlanTables(shared, roster, membership, vlans)
        voting = Voting(journal, shared.clock, roster.id)
        authority = Authority(mesh, tables, voting, supervisor)
        return cls(roster, authority, VlanCare(mesh, tables, voting, authority, replication), vlans)

    def start(self, supervisor: Supervisor) -> None:
        """Vote, and have this host's names decided on; call once its VLANs and the shared records are recovered."""
        self.care.recover()
        self.vlans.decided_by(self.authority, self.care.wake)
        self.authority.serve()
        supervisor.keep("keep VLANs in order", self.care.run)
        supervisor.keep("VLANs: who comes", self.care.listen)
