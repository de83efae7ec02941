"""What a daemon decides about its mesh before there is one: read by `mesh.clique` and `mesh.engine_keeper`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from megatools.hostkit import routes
from megatools.minimega.mesh.engine_process import Started
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.scouting import scouting
from megatools.minimega.mesh.standing import Standings

SIDE_PORT = 1
"""The side channel's port is this much above the engine's."""


@dataclass(frozen=True)
class MeshPlan:
    """One node's place in a mesh.

    `broadcast` is a multicast group or a comma list of hosts to begin with; `own_address` is this host's address now
    (empty: none); `lease_s` is how long a silent node counts as there; `hubs` are the names of the nodes that all
    others are clients of (none: everybody knows everybody); `peers` is the file in which nodes met are kept;
    requests of others pass the `gate`; `prepared` is a process for the first engine; calls of `renewed` services are
    begun again, when they break, by who made them.
    """

    name: str
    standings: Standings
    context: str = "minimega"
    port: int = 9000
    broadcast: str = ""
    own_address: Callable[[], str] = routes.own_address
    lease_s: float = 3.0
    hubs: tuple[str, ...] = ()
    peers: Path | None = None
    gate: Gate = field(default_factory=Gate)
    prepared: Started | None = None
    renewed: frozenset[str] = frozenset()

    def check(self) -> None:
        """Raises InvalidInput for a `broadcast` that is none."""
        scouting(self.broadcast, self.port, self.context, "")

    @property
    def mode(self) -> str:
        """`clique` or `hub`."""
        return "hub" if self.hubs else "clique"

    @property
    def role(self) -> str:
        """What Zenoh calls this node's part."""
        if not self.hubs:
            return "peer"
        return "router" if self.name in self.hubs else "client"
