"""The daemon's place in the mesh: which mesh there is, from the settings."""

from __future__ import annotations

import sys
from collections.abc import Callable

from megatools.hostkit.errors import InvalidInput, MegaError
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.settings import Settings
from megatools.minimega.mesh.channel import Channel
from megatools.minimega.mesh.clique import ZenohMesh
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.engine_process import Started
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.mesh.plan import MeshPlan
from megatools.minimega.mesh.standing import AlwaysOpen, Enrolled, Standings
from megatools.minimega.web.telling import VMS

_LEASES_S = (1.0, 3600.0)
_LAST_PORT = 65532  # streams and enrolment use the ports above
PEERS_FILE = "peers.json"


def make_mesh(
    settings: Settings, host: str, store: CredentialStore, supervisor: Supervisor, prepared: Started | None
) -> ZenohMesh:
    """The mesh of this start, on its way up; this host is a member from `announce` on. Raises InvalidInput."""
    check(settings)
    gate = Gate()
    standings = _standings(settings, host, store, supervisor, gate)
    plan = MeshPlan(
        name=host,
        standings=standings,
        context=settings.context,
        port=settings.port,
        broadcast=settings.broadcast,
        own_address=settings.own_address,
        lease_s=settings.msa,
        hubs=settings.mesh_hubs,
        peers=None if settings.mesh_open else store.directory / PEERS_FILE,
        gate=gate,
        prepared=prepared,
        renewed=frozenset((VMS,)),
    )
    plan.check()
    mesh = ZenohMesh(plan, supervisor)
    standing = standings.now()
    if settings.degree > 0 and standing.security == "off":
        print(f"minimega: {standing.detail}, in spite of -degree; hint: {standing.hint}", file=sys.stderr)
    mesh.start()
    return mesh


def _standings(settings: Settings, host: str, store: CredentialStore, supervisor: Supervisor, gate: Gate) -> Standings:
    if settings.mesh_open:
        return AlwaysOpen(lambda: Channel(host, None, supervisor))
    return Enrolled(store, lambda secured: Channel(host, secured, supervisor, gate))


def unlimited(settings: Settings, store: CredentialStore) -> Callable[[], bool]:
    """Whether this node may ask for anything, as far as its certificate says: only then do others take its records."""

    def now() -> bool:
        if settings.mesh_open:
            return True
        try:
            own = store.load()
        except MegaError:
            return False  # the mesh says why
        return own is None or (own.identity.role is Role.FULL and not own.identity.namespace)

    return now


def check(settings: Settings) -> None:
    """Raises InvalidInput for an address, a port or a time that cannot be."""
    settings.own_address()
    if not 0 < settings.port <= _LAST_PORT:
        raise InvalidInput(f'invalid mesh port "{settings.port}"', hint=f"1 to {_LAST_PORT}")
    if not _LEASES_S[0] <= settings.msa <= _LEASES_S[1]:
        raise InvalidInput(f'invalid time "{settings.msa:g}" for -msa', hint="1 to 3600 seconds")
    if not settings.context:
        raise InvalidInput("the context of a mesh must have a name")
