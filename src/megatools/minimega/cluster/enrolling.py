"""Clusters are founded, joined, left, and nodes revoked: what the commands `cluster ...` do, with a daemon.

Without one, `app/cluster_door` does the same on the files alone; the next daemon uses them. The daemon's mesh listens
to the credential store, so that a host that joins is in the mesh at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from megatools.hostkit.errors import InvalidState
from megatools.hostkit.ranges import compress, expand
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.roll import NodeRow, Roll, StatusRow
from megatools.minimega.cluster.roster import Roster
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.enrolment import Enrolment
from megatools.minimega.mesh.issuing import found_cluster
from megatools.minimega.mesh.joining import join
from megatools.minimega.mesh.mesh import Mesh, Role
from megatools.minimega.mesh.revocation import Revocations

OPEN_REMARK = "this daemon runs with -mesh-open, without certificates: start it again without"


@dataclass(frozen=True)
class ClusterControl:
    """This daemon's dealings with its cluster; `address` is this host's, empty while it has none."""

    store: CredentialStore
    mesh: Mesh
    roll: Roll
    enrolment: Enrolment
    revocations: Revocations
    roster: Roster
    address: Callable[[], str]

    def start(self, supervisor: Supervisor) -> None:
        """Go on where an earlier daemon ended: listen for those who are invited, tell what was issued."""
        self.revocations.start()
        self.enrolment.resume()

        def publish() -> None:
            supervisor.keep("the cluster's roll", self.roll.publish)

        self.store.listen_issued(publish)
        publish()

    async def init(self, name: str) -> str:
        """Found a cluster: its authority is on this host. Raises AlreadyExists."""
        with self.store.lock():
            found_cluster(self.store, name, self._addresses())
        return founded_text(self.store)

    async def invite(self, name: str, role: Role, namespace: str) -> str:
        """What to run on a new host: a command with a token. Raises NotFound, AlreadyExists, Unavailable."""
        invitation = await self.enrolment.invite(name, role, namespace)
        return f"minimega cluster join {invitation.token.addresses[0]} {invitation.token.text}"

    async def join(self, host: str, token: str) -> str:
        """Become a member. Raises as `joining.join`."""
        await join(self.store, host, token, self._addresses())
        return joined_text(self.store)

    async def leave(self) -> None:
        """Be in no cluster. Raises NotFound."""
        with self.store.lock():
            self.store.forget()

    async def revoke(self, name: str) -> str:
        """Take a node's certificates away, everywhere. Raises NotFound, InvalidInput, InvalidState."""
        late = await self.revocations.revoke(self.roll.to_revoke(name))
        if name in self.roster.others():
            await self.roster.forget(name)
        if not late:
            return ""
        return f'not heard by {", ".join(late)} yet: they learn it before they serve "{name}" again'

    async def forget(self, text: str) -> None:
        """Give hosts up that will not come back. Raises NotFound, InvalidInput, InvalidState (one is there)."""
        names = expand(text)
        there = [member.name for member in self.mesh.members() if member.name in names]
        if there:
            raise InvalidState(f"{compress(there)} is in the mesh", hint="quit there, or revoke it")
        for name in names:
            await self.roster.forget(name)
            self.revocations.give_up(name)

    def rows(self) -> list[NodeRow]:
        """Who is enrolled."""
        connected = {member.name for member in self.mesh.members() if not member.doubled}
        return self.roll.rows(connected | {self.mesh.name})

    def status(self) -> StatusRow:
        """How this node stands."""
        status = self.mesh.status()
        remarks = [OPEN_REMARK] if status.security == "open" and self.store.is_member else []
        return self.roll.status(status.security, [*remarks, status.detail] if status.detail else remarks)

    def _addresses(self) -> tuple[str, ...]:
        address = self.address()
        return (address,) if address else ()


def founded_text(store: CredentialStore) -> str:
    """What was founded, and where."""
    return (
        f'"{store.host}" is the first node of a new cluster, and has its authority: keep a copy of '
        f"{store.directory}/authority.* in a safe place\n"
        "other hosts: `cluster invite` here prints the command to run there"
    )


def joined_text(store: CredentialStore) -> str:
    """What was joined."""
    own = store.load()
    assert own is not None
    return f'"{own.identity.name}" is a node of cluster {own.authority.names.common} ({own.cluster}) now'
