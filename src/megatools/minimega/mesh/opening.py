"""Plans of the meshes there can be: made from what a daemon was told, by `app` (and by nodes of tests)."""

from __future__ import annotations

from collections.abc import Callable

from megatools.hostkit import routes
from megatools.minimega.mesh.beside import NoChannel, SideChannel
from megatools.minimega.mesh.plan import MeshPlan
from megatools.minimega.mesh.scouting import key_prefix, scouting
from megatools.minimega.mesh.trust import Claimed


def open_plan(
    name: str,
    *,
    context: str = "minimega",
    port: int = 9000,
    broadcast: str = "",
    own_address: Callable[[], str] = routes.own_address,
    lease_s: float = 3.0,
    channel: SideChannel | None = None,
) -> MeshPlan:
    """An open mesh: anyone on the network is in it. Raises InvalidInput for a bad `broadcast`."""
    return MeshPlan(
        name=name,
        security="open",
        context=context,
        port=port,
        prefix=key_prefix(context, ""),
        scouting=scouting(broadcast, port, context, ""),
        trust=Claimed(),
        channel=channel or NoChannel(),
        own_address=own_address,
        lease_s=lease_s,
    )
