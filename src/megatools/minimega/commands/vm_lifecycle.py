"""Launch, start, stop, kill and flush virtual machines (spec B.11)."""

from __future__ import annotations

from megatools.hostkit.errors import Unavailable
from megatools.minimega.cluster.schedule import Wanted
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Group, Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.operations import FlushVms, KillVms, LaunchVms, StartVms, StopVms

family: Family[Services] = Family("vm", "Virtual machines")


@family.command("vm launch kvm <name or count> [config]", effect=Effect.NAMESPACE)
async def vm_launch(call: Cmd, name: str, config: str | None = None) -> Group:
    """Launch virtual machines; they are paused (state BUILDING) until they are started

    A number launches that many, called vm-0, vm-1 and so on; a list of names with ranges, as in `web[1-3],db`,
    launches those. They get the configuration of `vm config`, or a saved one when it is named, and are spread over the
    hosts of the namespace (`ns hosts`, `ns load`). The command returns when all are there; those that failed are
    reported one by one and leave nothing behind. When no host may take one of them, nothing is launched.

    With `ns queueing true` they are queued instead. Without arguments, `vm launch` launches what is queued, as
    `ns schedule` does.
    """
    only: tuple[str, ...] = ()
    if call.session.limits is not None:  # another node sent this: it acts here, as far as that node may
        call.session.limits.check_operation(call.namespace, LaunchVms(()))
        only = (call.host,)
    return await call.services.scheduler.launch(Wanted(call.namespace, VmKind.KVM, name, config, only), call.status)


@family.command("vm launch", effect=Effect.NAMESPACE)
async def vm_launch_queued(call: Cmd) -> Group:
    """Launch what is queued

    See `ns schedule`.
    """
    return await call.services.scheduler.launch_queue(call.namespace, call.status)


@family.command(
    "vm launch container <name or count> [config]",
    "vm launch android <name or count> [config]",
    effect=Effect.NAMESPACE,
)
async def vm_launch_other(call: Cmd, name: str, config: str | None = None) -> None:
    """Launch containers or Android emulators (not available yet)"""
    raise Unavailable(
        f'not available yet: "{call.text.strip()}" (for {name}, {config or "the current configuration"})',
        hint="vm launch kvm <name or count>",
    )


@family.command("vm start <vm target>", suggest={"vm": "vm"}, effect=Effect.NONE)
async def vm_start(call: Cmd, vm: str) -> Groups:
    """Start virtual machines

    The target is a comma list of names, ids or ranges, or `all`. VMs that have quit are launched again when they are
    named; `all` passes over them.
    """
    return await run(call, StartVms(vm))


@family.command("vm stop <vm target>", suggest={"vm": "vm"}, effect=Effect.NONE)
async def vm_stop(call: Cmd, vm: str) -> Groups:
    """Pause running virtual machines; `vm start` lets them go on"""
    return await run(call, StopVms(vm))


@family.command("vm kill <vm target>", suggest={"vm": "vm"}, effect=Effect.NONE)
async def vm_kill(call: Cmd, vm: str) -> Groups:
    """End virtual machines, as if their power was cut

    They stay listed as QUIT until they are flushed, and can be started again.
    """
    return await run(call, KillVms(vm))


@family.command("vm flush [vm target]", suggest={"vm": "vm"}, effect=Effect.NONE)
async def vm_flush(call: Cmd, vm: str | None = None) -> Groups:
    """Forget virtual machines in state QUIT or ERROR, all of them or those named"""
    return await run(call, FlushVms("all" if vm is None else vm))
