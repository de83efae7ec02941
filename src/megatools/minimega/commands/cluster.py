"""The cluster: who may be in the mesh (spec B.20 has no security; ours is decision 0024)."""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.cluster.roll import NodeRow, StatusRow
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.answer import Table, rows_table
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.mesh.mesh import Role

family: Family[Services] = Family("cluster", "Who may be in the mesh")
_ANY = "any"


@family.command("cluster", effect=Effect.NONE)
async def cluster(call: Cmd) -> Table:
    """Show how this host stands to a cluster

    `security` is `tls` (in a cluster, hosts prove who they are), `open` (anyone on this network can command this host)
    or `off`. `cluster` is the cluster's name and id, `expires` the day on which this host's certificate ends,
    `authority` the hosts that can invite others. `remarks` say what is wrong.
    """
    return rows_table(StatusRow, [call.services.cluster.status()])


@family.command("cluster init [name]")
async def cluster_init(call: Cmd, name: str | None = None) -> str:
    """Found a cluster: this host becomes its first node and has its authority

    From then on hosts that are in it find each other and form a mesh with nothing else to set up. The authority's key
    stays on this host (settings: cluster_dir): keep a copy of authority.pem and authority.json. Copied to the same
    directory of another node they make that one an authority too.

    From the shell, with a running daemon or without:

        minimega cluster init
    """
    return await call.services.cluster.init(name or "")


@family.command(
    "cluster invite [name]",
    "cluster invite <name> <full,read-only> [namespace]",
    record=False,
)
async def cluster_invite(
    call: Cmd, name: str | None = None, namespace: str | None = None, full: bool = False, read_only: bool = False
) -> str:
    """Print the command that makes another host a node of this cluster

    To be run there once, within an hour, as root. With a name only a host of that name can use it; `any` stands for any
    name. A node that is `read-only` may ask other hosts for what changes nothing; one with a namespace may only act in
    that namespace:

        cluster invite
        cluster invite kn3
        cluster invite any read-only
        cluster invite kn4 full red

    Works on the hosts that have the authority. While invitations are out, the mesh's port plus 3 is open there.
    """
    role = Role.READ_ONLY if read_only else Role.FULL
    return await call.services.cluster.invite("" if name in (None, _ANY) else name, role, namespace or "")


@family.command("cluster join <host> <token>", record=False)
async def cluster_join(call: Cmd, host: str, token: str) -> str:
    """Become a node of the cluster whose authority is on another host

    The token is what `cluster invite` printed there. If it fails half way, give the same command again.
    """
    return await call.services.cluster.join(host, token)


@family.command("cluster leave")
async def cluster_leave(call: Cmd) -> None:
    """Be a node of no cluster: forget this host's certificate

    The others still count it as one of them until it is revoked there, and it counts them: new VLAN names want their
    consent until `cluster forget` gives them up here. An authority on this host stays.
    """
    await call.services.cluster.leave()


@family.command("cluster forget <hosts>", suggest={"hosts": "host"})
async def cluster_forget(call: Cmd, hosts: str) -> None:
    """Give hosts up that are away and will not come back

    Names of VLANs are agreed on by a majority of the hosts, those that are away included: who says `quit` is counted no
    longer, who broke down for good is until somebody says so here. Never say it of hosts that still run, cut off: both
    sides could give out the same numbers. One that comes back after all is counted again.

        cluster forget kn3
        cluster forget kn[5-8]
    """
    await call.services.cluster.forget(hosts)


@family.command("cluster list", effect=Effect.NONE)
async def cluster_list(call: Cmd) -> Table:
    """List the nodes that were enrolled, whether they are connected, and who was revoked"""
    return rows_table(NodeRow, call.services.cluster.rows())


@family.command("cluster revoke <name>", suggest={"name": "host"})
async def cluster_revoke(call: Cmd, name: str) -> str:
    """Throw a node out of the cluster

    Every node that can be reached ends its connections to it and takes no new ones; one that is away learns it from the
    others before it serves anybody. Then the name is free: `cluster invite` can enrol a host of that name again.
    """
    if name == _ANY:
        raise InvalidInput("name the node to be revoked", hint="cluster list")
    return await call.services.cluster.revoke(name)
