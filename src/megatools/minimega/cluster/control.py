"""The mesh as commands see it: its state, who is in it, connections made and dropped by hand (spec B.20).

Every node of a clique is connected to every other, so a degree is kept and shown, but changes nothing.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound, Unavailable
from megatools.hostkit.files import write_atomically
from megatools.hostkit.ranges import by_number
from megatools.minimega.cluster import topology
from megatools.minimega.cluster.calling import Patience
from megatools.minimega.cluster.sending import LOCALHOST, Sender
from megatools.minimega.cluster.topology import Topology
from megatools.minimega.mesh.mesh import Mesh
from megatools.minimega.mesh.standing import HOW
from megatools.minimega.state.stamps import StampClock

OPEN = "open"
OPEN_MARK = "(open mesh)"
OPEN_WARNING = "anyone on this network can command this host"
_CLIQUE_REMARK = "every node is connected to every other: degree has no effect"


class StatusRow(msgspec.Struct, frozen=True):
    """The line of `mesh status`: `peers` are the connections of this node, `degree` how many were asked for."""

    size: int
    degree: int
    peers: int
    context: str
    port: int
    security: str
    mode: str
    remarks: str


class MeshControl:
    """What the commands of the mesh do; `degree` is what was asked for at the start."""

    def __init__(
        self,
        mesh: Mesh,
        patience: Patience,
        degree: int = 0,
        msa_timeout_s: int = 10,
        clock: StampClock | None = None,
    ) -> None:
        self.mesh = mesh
        self.patience = patience
        self.sender = Sender(mesh, patience, clock)
        self.msa_timeout_s = msa_timeout_s  # kept for who asks: a clique finds out otherwise who is lost
        self._degree = degree

    @property
    def degree(self) -> int:
        """How many connections were asked for."""
        return self._degree

    def ask_degree(self, degree: int) -> None:
        """Ask for a number of connections. Raises InvalidInput, or Unavailable where nothing can come of it."""
        if degree < 0:
            raise InvalidInput(f"invalid degree {degree}", hint="0 or more")
        status = self.mesh.status()
        if degree and status.mode == "none":
            raise Unavailable("this host is in no mesh", hint=HOW)
        self._degree = degree

    async def status(self) -> StatusRow:
        """The state of this node's mesh."""
        status = self.mesh.status()
        remarks = dict.fromkeys(
            (
                OPEN_WARNING if status.security == OPEN else "",
                status.detail,
                _CLIQUE_REMARK if status.mode == "clique" else "",
                f"to be in one: {HOW}" if status.mode == "none" else "",
            )
        )
        return StatusRow(
            size=1 + len(self.mesh.members()),
            degree=self._degree,
            peers=len({link.peer for link in await self.mesh.links()} & {*self.names()} - {self.mesh.name}),
            context=status.context,
            port=status.port,
            security=status.security,
            mode=status.mode,
            remarks="; ".join(remark for remark in remarks if remark),
        )

    def names(self) -> list[str]:
        """This node and the others."""
        return sorted((self.mesh.name, *(member.name for member in self.mesh.members())), key=by_number)

    async def topology(self) -> Topology:
        """Who is connected to whom."""
        return await topology.ask(self.mesh)

    async def write_dot(self, path: Path) -> Topology:
        """Write who is connected to whom as a graph. Raises NotFound for a directory that is not there."""
        if not path.parent.is_dir():
            raise NotFound(f'directory "{path.parent}" does not exist', hint="make it first, or name another file")
        found = await self.topology()
        await asyncio.to_thread(write_atomically, path, topology.dot_text(found.peers), 0o644)
        return found

    async def dial(self, host: str) -> None:
        """Connect to a node. Raises InvalidInput, InvalidState, Unavailable."""
        name = host.partition(":")[0]
        if name in (self.mesh.name, LOCALHOST):
            raise InvalidInput("cannot mesh dial yourself")
        if any(member.name == host for member in self.mesh.members()):
            raise InvalidState(f"already connected to {host}")
        await self.mesh.dial(host)

    async def hangup(self, host: str) -> None:
        """Drop the connection to a node until it is dialled. Raises NotFound."""
        if all(member.name != host for member in self.mesh.members()):
            raise NotFound(f"no such client {host}", hint="`mesh list peers` names them")
        await self.mesh.hangup(host)
