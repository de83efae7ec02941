"""The mesh: who is in it, and commands for other nodes (spec B.20)."""

from __future__ import annotations

import re
from pathlib import Path

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.units import format_duration
from megatools.minimega.cluster.control import StatusRow
from megatools.minimega.cluster.topology import Topology, list_text
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.answer import Group, Groups, Response, Table, rows_table
from megatools.minimega.lang.call import Invocation
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("mesh", "The mesh of hosts")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")


@family.command("mesh send <hosts or all> (command)", suggest={"hosts": "host"})
async def mesh_send(call: Cmd, hosts: str, command: Invocation) -> Groups:
    """Run a command on other hosts of the mesh

    Hosts are a comma list with ranges, as in `kn[1-4,9]`, or `all` for every other host; this one may be in the list.
    The command runs there as if it was typed there, in your namespace and with the values your $variables have; what
    it asks of hosts, it asks of that host only:

        mesh send kn[1-4] version
        mesh send all vm config memory 1024

    Answers are shown as they come; equal ones are merged. A host that is not in the mesh, was lost or says nothing for
    longer than `mesh timeout` is named as an error, and nobody waits for it. `mesh send`, `read` and `ns run` cannot be
    sent.
    """
    return await call.services.mesh.sender.send(call, hosts, command)


@family.command("mesh status", effect=Effect.NONE)
async def mesh_status(call: Cmd) -> Table:
    """Show the state of this host's mesh

    `size` counts the hosts, this one included; `peers` are those it is connected to; `degree` is what was asked for.
    `security` is `tls` (hosts prove who they are), `open` (anyone on this network can command this host) or `off`.
    """
    return rows_table(StatusRow, [await call.services.mesh.status()])


@family.command("mesh list", effect=Effect.NONE)
async def mesh_list(call: Cmd) -> Group:
    """List the hosts of the mesh, each with those it is connected to"""
    found = await call.services.mesh.topology()
    return _with_problems(call, found, list_text(found.peers))


@family.command("mesh list <all,peers>", effect=Effect.NONE)
async def mesh_list_names(call: Cmd, all: bool = False, peers: bool = False) -> str:
    """List the names of all hosts of the mesh, or of those this one can reach"""
    del all
    return "\n".join(name for name in call.services.mesh.names() if not (peers and name == call.host))


@family.command("mesh dot <file>")
async def mesh_dot(call: Cmd, file: str) -> Group:
    """Write the hosts of the mesh and their connections to a file for graphviz"""
    return _with_problems(call, await call.services.mesh.write_dot(Path(file)), "")


@family.command("mesh dial <host>")
async def mesh_dial(call: Cmd, host: str) -> None:
    """Connect to the mesh of a host, given as `host` or `host:port`

    For hosts that do not find each other: on another network, or after `mesh hangup`.
    """
    await call.services.mesh.dial(host)


@family.command("mesh hangup <host>", suggest={"host": "host"})
async def mesh_hangup(call: Cmd, host: str) -> None:
    """Drop the connection to a host and keep away from it until it is dialled

    In a mesh where all are connected to all, this means that these two hosts do not talk to each other.
    """
    await call.services.mesh.hangup(host)


@family.command("mesh degree [degree]")
async def mesh_degree(call: Cmd, degree: str | None = None) -> str | None:
    """Show or set how many connections to ask for

    It has no effect: every host is connected to every other or, with `-mesh-hubs`, to the hubs.
    """
    if degree is None:
        return str(call.services.mesh.degree)
    if not _NUMBER.fullmatch(degree):
        raise InvalidInput(f'invalid degree "{degree}"', hint="a number, 0 or more")
    call.services.mesh.ask_degree(int(degree))
    return None


@family.command("mesh timeout [seconds]")
async def mesh_timeout(call: Cmd, seconds: str | None = None) -> str | None:
    """Show or set how long another host may be silent before it is given up, in seconds; 0 is for ever

    A host that works says so all the time: a command may take as long as it needs. The setting `mesh_timeout` is the
    value at the start.
    """
    patience = call.services.mesh.patience
    if seconds is None:
        return format_duration(patience.silence_s) if patience.silence_s else "unlimited"
    if not _SECONDS.fullmatch(seconds):
        raise InvalidInput(f'invalid timeout "{seconds}"', hint="seconds, or 0 for none")
    patience.silence_s = float(seconds)
    return None


def _with_problems(call: Cmd, found: Topology, text: str) -> Group:
    """The answer, and an error for every node that did not say whom it is connected to."""
    return [Response(call.host, text), *(Response(host, error=problem) for host, problem in found.problems.items())]
