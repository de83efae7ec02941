"""What a daemon decides about its mesh before there is one: read by `mesh.clique` and `mesh.engine_keeper`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from megatools.hostkit import routes
from megatools.minimega.mesh.beside import SideChannel
from megatools.minimega.mesh.engine_config import Certificates
from megatools.minimega.mesh.mesh import Caller
from megatools.minimega.mesh.scouting import Scouting
from megatools.minimega.mesh.trust import Trust

SIDE_PORT = 1
"""The side channel's port is this much above the engine's."""


@dataclass(frozen=True)
class MeshPlan:
    """One node's place in a mesh.

    `security` is `open` or `tls`; `prefix` begins all keys; `own_address` is this host's address now (empty: none);
    `certificates` is asked at each start of the engine; `lease_s` is how long a silent node counts as there.
    """

    name: str
    security: str
    context: str
    port: int
    prefix: str
    scouting: Scouting
    trust: Trust
    channel: SideChannel
    own_address: Callable[[], str] = routes.own_address
    lease_s: float = 3.0
    certificates: Callable[[], Certificates | None] = lambda: None

    @property
    def mode(self) -> str:
        """Every node knows all others."""
        return "clique"

    @property
    def caller(self) -> Caller:
        """How this node's own requests look to itself."""
        return Caller(self.name)
