"""List virtual machines (spec B.11)."""

from __future__ import annotations

from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.vm.operations import VmInfo

family: Family[Services] = Family("vm info", "Lists of virtual machines")


@family.command("vm info [summary,]", effect=Effect.NONE)
async def vm_info(call: Cmd, summary: bool = False) -> Groups:
    """List the virtual machines of this namespace

    Combine it with `.filter state=running`, `.columns name,ip` and the like. A column that a type of VM does not have
    shows N/A. States are BUILDING, RUNNING, PAUSED, QUIT and ERROR; why a VM is in ERROR says its tag `error`.
    """
    return await run(call, VmInfo(summary))
