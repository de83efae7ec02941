"""The daemon's dealings with its cluster, put together from the settings."""

from __future__ import annotations

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.agreement import Agreement
from megatools.minimega.app.settings import Settings
from megatools.minimega.cluster import fanout, sending
from megatools.minimega.cluster.enrolling import ClusterControl
from megatools.minimega.cluster.roll import Roll
from megatools.minimega.mesh.clique import ZenohMesh
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.enrolment import Enrolment
from megatools.minimega.mesh.revocation import Revocations


def make_cluster(
    settings: Settings, store: CredentialStore, mesh: ZenohMesh, agreement: Agreement, supervisor: Supervisor
) -> ClusterControl:
    """What the commands `cluster ...` reach; to be started once shared records are there."""
    mesh.gate.patient = frozenset((fanout.SERVICE, sending.SERVICE))
    roll = Roll(store, agreement.shared)
    enrolment = Enrolment(store, supervisor, address=settings.own_address, mesh_port=settings.port)
    revocations = Revocations(mesh, store, supervisor, mesh.gate)
    return ClusterControl(store, mesh, roll, enrolment, revocations, agreement.councils.roster, settings.own_address)
