"""The daemon's place in the mesh: which mesh there is, from the settings."""

from __future__ import annotations

import sys
from typing import TypeAlias

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.app.settings import Settings
from megatools.minimega.mesh.alone import HOW, LonelyMesh
from megatools.minimega.mesh.clique import ZenohMesh
from megatools.minimega.mesh.opening import open_plan

DaemonMesh: TypeAlias = ZenohMesh | LonelyMesh

_LEASES_S = (1.0, 3600.0)
_LAST_PORT = 65532  # streams and enrolment use the ports above


def make_mesh(settings: Settings, host: str, supervisor: Supervisor) -> DaemonMesh:
    """The mesh of this start, on its way up; it becomes a member with `announce`. Raises InvalidInput."""
    check(settings)
    mesh: DaemonMesh
    if settings.mesh_open:
        mesh = ZenohMesh(
            open_plan(
                host,
                context=settings.context,
                port=settings.port,
                broadcast=settings.broadcast,
                own_address=settings.own_address,
                lease_s=settings.msa,
            ),
            supervisor,
        )
    else:
        mesh = LonelyMesh(host, settings.context, settings.port, supervisor)
        if settings.degree > 0:
            print(f"minimega: this host is in no mesh, in spite of -degree; hint: {HOW}", file=sys.stderr)
    mesh.start()
    return mesh


def check(settings: Settings) -> None:
    """Raises InvalidInput for a port or a time that cannot be."""
    if not 0 < settings.port <= _LAST_PORT:
        raise InvalidInput(f'invalid mesh port "{settings.port}"', hint=f"1 to {_LAST_PORT}")
    if not _LEASES_S[0] <= settings.msa <= _LEASES_S[1]:
        raise InvalidInput(f'invalid time "{settings.msa:g}" for -msa', hint="1 to 3600 seconds")
    if not settings.context:
        raise InvalidInput("the context of a mesh must have a name")
