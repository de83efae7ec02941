"""The hosts of a namespace, its queue, and how its VMs are placed (spec B.12)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster.runs import Draft, RunRow
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.answer import Answer, Group, Groups, Response, Table, response_of, rows_table
from megatools.minimega.lang.call import Invocation
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.namespace.policy import LoadFunction
from megatools.minimega.namespace.queue import QueueRow
from megatools.minimega.vm.rooms import Caps

family: Family[Services] = Family("ns", "Hosts and scheduling of a namespace")
_NUMBER = re.compile(r"[0-9]{1,6}(\.[0-9]{1,4})?")


# ---- hosts


@family.command("ns hosts", effect=Effect.NONE)
async def ns_hosts(call: Cmd) -> Answer:
    """List the hosts of the namespace

    They are what its commands act on and where its VMs are launched. A new namespace has all other hosts of the mesh,
    or this one if there are none; the namespace `minimega` always has this host only.
    """
    hosts = call.services.namespaces.membership.hosts(call.namespace)
    return Answer(compress(hosts), data=msgspec.Raw(msgspec.json.encode(hosts)))


@family.command("ns add-hosts <hosts or all or localhost>", suggest={"hosts": "host"})
async def ns_add_hosts(call: Cmd, hosts: str) -> None:
    """Add hosts to the namespace

    A comma list with ranges, as in `kn[1-4]`; `all` for every other host of the mesh; `localhost` for this one.
    """
    await call.services.namespaces.membership.add(call.namespace, hosts)


@family.command("ns del-hosts <hosts or all or localhost>", suggest={"hosts": "host"})
async def ns_del_hosts(call: Cmd, hosts: str) -> str:
    """Take hosts out of the namespace

    A host that has VMs of the namespace stays until they are flushed. A host that does not answer is taken out; if it
    turns out to have VMs of the namespace when it is back, it joins it again.
    """
    return await call.services.spaces.remove_hosts(call.namespace, hosts)


# ---- rules


@family.command("ns load [cpucommit,netcommit,memcommit]", effect=Effect.NAMESPACE)
async def ns_load(call: Cmd, cpucommit: bool = False, netcommit: bool = False, memcommit: bool = False) -> str:
    """Show or set how the load of hosts is counted when VMs are placed

    Each VM goes to the least loaded host that may take it:

        cpucommit   virtual CPUs promised to VMs, per CPU (the default)
        netcommit   network interfaces of VMs
        memcommit   memory promised to VMs, as a share of what the host has
    """
    membership = call.services.namespaces.membership
    chosen = zip((cpucommit, netcommit, memcommit), LoadFunction, strict=True)
    function = next((function for given, function in chosen if given), None)
    if function is None:
        return membership.rules(call.namespace).load.value
    await membership.set_load(call.namespace, function)
    return ""


@family.command("ns caps", "ns caps <cpu,memory> <limit or off>", effect=Effect.NAMESPACE)
async def ns_caps(call: Cmd, cpu: bool = False, memory: bool = False, limit: str = "") -> Table | None:
    """Show or set how much a host may promise to VMs at most

    `cpu` is the number of virtual CPUs per CPU, `memory` the share of a host's memory, for the launches of this
    namespace. They are off by default. A host may have caps of its own (settings `cpu_cap` and `memory_cap`); the lower
    one counts. What would exceed a cap is not launched:

        ns caps cpu 4
        ns caps memory 0.9
        ns caps memory off
    """
    membership = call.services.namespaces.membership
    caps = membership.rules(call.namespace).caps
    if not limit:
        return Table(("cap", "limit"), (("cpu", _shown(caps.cpu)), ("memory", _shown(caps.memory))))
    if limit != "off" and (not _NUMBER.fullmatch(limit) or not float(limit)):
        raise InvalidInput(f'invalid cap "{limit}"', hint="a number above 0, or off")
    value = 0.0 if limit == "off" else float(limit)
    del memory
    await membership.set_caps(call.namespace, Caps(value, caps.memory) if cpu else Caps(caps.cpu, value))
    return None


def _shown(cap: float) -> str:
    return f"{cap:g}" if cap else "off"


# ---- queue


@family.command("ns queueing [true,false]", effect=Effect.NAMESPACE)
async def ns_queueing(call: Cmd, true: bool = False, false: bool = False) -> str:
    """Show or set whether launches are queued

    With queueing, `vm launch kvm ...` plans VMs and does not launch them; `vm launch` or `ns schedule` launches all of
    them together, so that each is placed in view of the others. The default is false. The queue stays on the host where
    the VMs were queued.
    """
    space = await call.services.namespaces.ensure(call.namespace)
    if not true and not false:
        return "true" if space.record.queueing else "false"
    await space.change(queueing=true)
    return ""


@family.command("ns queue", effect=Effect.NONE)
async def ns_queue(call: Cmd) -> Answer:
    """Show the queued VMs with their configurations

    `ns queue list` shows them as a table.
    """
    queue = call.services.namespaces.get(call.namespace).queue
    return Answer(queue.text(), data=msgspec.Raw(msgspec.json.encode(queue.rows())))


@family.command("ns queue <list,>", effect=Effect.NONE)
async def ns_queue_list(call: Cmd, list: bool = True) -> Table:
    """List the queued VMs as a table"""
    del list
    return rows_table(QueueRow, call.services.namespaces.get(call.namespace).queue.rows())


@family.command("ns flush", effect=Effect.NAMESPACE)
async def ns_flush(call: Cmd) -> None:
    """Drop the queued VMs"""
    call.services.scheduler.check_idle(call.namespace)
    queue = call.services.namespaces.get(call.namespace).queue
    await queue.remove(queue.uuids())


# ---- schedule


@family.command("ns schedule", effect=Effect.NAMESPACE)
async def ns_schedule(call: Cmd) -> Group:
    """Launch the queued VMs

    All are placed first; if one has no place, nothing is launched and the queue stays as it is. VMs are placed in this
    order: those with a host (`vm config schedule`), those that tolerate the fewest others on their host (`coschedule`),
    those with the most VMs to go with them (`colocate`), the larger ones. Each goes to the least loaded host that may
    take it, the first by name of equals.

    A VM that could not be launched is reported and not queued again. VMs of a host that was lost meanwhile are queued
    again, to be launched elsewhere; should that host come back with them, they end there.
    """
    return await call.services.scheduler.launch_queue(call.namespace, call.status)


@family.command("ns schedule <dry-run,>", effect=Effect.NAMESPACE)
async def ns_schedule_dry_run(call: Cmd, dry_run: bool = True) -> Table:
    """Show where the queued VMs would be launched

    The placement is kept: `ns schedule mv` changes it, `ns schedule` launches by it.
    """
    del dry_run
    return _placed(await call.services.scheduler.dry_run(call.namespace))


@family.command("ns schedule <dump,>", effect=Effect.NONE)
async def ns_schedule_dump(call: Cmd, dump: bool = True) -> Table:
    """Show the placement of the last dry run, with the changes made since"""
    del dump
    return _placed(call.services.scheduler.desk(call.namespace).the_draft())


def _placed(draft: Draft) -> Table:
    return Table(("vm", "dst"), draft.rows())


@family.command("ns schedule <mv,> <vms> <host>", suggest={"host": "host"}, effect=Effect.NAMESPACE)
async def ns_schedule_mv(call: Cmd, vms: str, host: str, mv: bool = True) -> None:
    """Put VMs of the dry run on another host

    VMs are a comma list with ranges. The constraints of the VMs and the caps of the host hold here too.
    """
    del mv
    call.services.scheduler.move(call.namespace, vms, host)


@family.command("ns schedule <status,>", effect=Effect.NONE)
async def ns_schedule_status(call: Cmd, status: bool = True) -> Table:
    """Show the launches of the namespace driven from this host, the last 100 of them"""
    del status
    return rows_table(RunRow, [run.row() for run in call.services.scheduler.desk(call.namespace).runs])


@family.command("ns schedule <why,> <vm>", suggest={"vm": "vm"}, effect=Effect.NONE)
async def ns_schedule_why(call: Cmd, vm: str, why: bool = True) -> AsyncIterator[Group]:
    """Explain why a VM is, or is to be, on its host

    Shows every host as it was when the VM was placed: its load, its number of VMs, and whether it was chosen, passed
    over or refused, and why. Of a dry run, or of the launches driven from this host since it was started.
    """
    del why
    found = call.services.scheduler.desk(call.namespace).why(vm)
    company = f" with {compress(found.together)}" if found.together else ""
    yield [Response(call.host, f"{found.vm} -> {found.host}{company}: {found.reason}")]
    rows = tuple((view.host, view.load, str(view.vms), view.verdict) for view in found.hosts)
    yield [response_of(call.host, Answer(table=Table(("candidate", "load", "vms", "verdict"), rows)))]


# ---- run


@family.command("ns run (command)")
async def ns_run(call: Cmd, command: Invocation) -> Groups:
    """Run a command on every host of the namespace

    As `mesh send` does, on this host too if it is one of them. `read`, `mesh send`, `ns run` and `vm launch` cannot be
    run like this.
    """
    inner: Invocation | None = command
    while inner is not None:
        if inner.pattern.startswith("vm launch"):
            raise InvalidState("cannot run `vm launch` via meshage", hint="vm launch spreads VMs over the hosts itself")
        inner = inner.nested
    hosts = call.services.namespaces.membership.hosts(call.namespace)
    if not hosts:
        raise InvalidState(f'namespace "{call.namespace}" has no hosts', hint="ns add-hosts")
    return await call.services.mesh.sender.send(call, ",".join(hosts), command)
