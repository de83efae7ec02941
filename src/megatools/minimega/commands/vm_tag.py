"""Tags of virtual machines (spec B.11)."""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.vm.operations import ClearTags, ReadTags, SetTag

family: Family[Services] = Family("vm tag", "Tags of virtual machines")
_ALL = "all"


@family.command(
    "vm tag <vm target> [key or all]", "vm tag <vm target> <key> <value>", suggest={"vm": "vm"}, effect=Effect.NONE
)
async def vm_tag(call: Cmd, vm: str, key: str | None = None, value: str | None = None) -> Groups:
    """Show or set tags

    Without a key, or with `all`, every tag of every VM is listed; an unset tag reads as empty. `vm config tags` gives
    tags to new VMs.
    """
    if value is None:
        return await run(call, ReadTags(vm, "" if key in (None, _ALL) else str(key)))
    if key is None or key == _ALL:
        raise InvalidInput("cannot assign to wildcard", hint="name the tag")
    return await run(call, SetTag(vm, key, value))


@family.command("clear vm tag", "clear vm tag <vm target> [tag or all]", suggest={"vm": "vm"}, effect=Effect.NONE)
async def clear_vm_tag(call: Cmd, vm: str = _ALL, tag: str | None = None) -> Groups:
    """Remove one tag, or all tags, from virtual machines"""
    return await run(call, ClearTags(vm, "" if tag in (None, _ALL) else str(tag)))
