"""VLAN aliases, ranges and the blacklist: `vlans`, `clear vlans` (spec B.13)."""

from __future__ import annotations

from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.net.operations import (
    AddVlan,
    BlacklistVlan,
    ClearVlans,
    ListBlacklist,
    ListVlans,
    SetVlanRange,
    ShowVlanRange,
)

family: Family[Services] = Family("vlans", "VLANs")


@family.command("vlans", effect=Effect.NONE)
async def vlans(call: Cmd) -> Groups:
    """List the VLAN aliases of this namespace

    A VLAN is asked for by number, 0 to 4095, or by a name of your choice, which is given a number on first use.
    `namespace//name` means the name in another namespace.
    """
    return await run(call, ListVlans())


@family.command("vlans range", "vlans range <min> <max>", effect=Effect.NONE)
async def vlans_range(call: Cmd, min: str | None = None, max: str | None = None) -> Groups:
    """Show or set the range names get their numbers from

    Numbers from min up to, not including, max are given out. In the default namespace it is the range of all
    namespaces without one of their own; ranges of different namespaces may not overlap.
    """
    if min is None or max is None:
        return await run(call, ShowVlanRange())
    return await run(call, SetVlanRange(min, max))


@family.command("vlans add <alias> <vlan>", effect=Effect.NONE)
async def vlans_add(call: Cmd, alias: str, vlan: str) -> Groups:
    """Give a VLAN number a name in this namespace"""
    return await run(call, AddVlan(alias, vlan))


@family.command("vlans blacklist [vlan]", effect=Effect.NONE)
async def vlans_blacklist(call: Cmd, vlan: str | None = None) -> Groups:
    """List the VLAN numbers never given to names, or add one

    Numbers somebody used as they are, without a name, are among them until their namespace clears its VLANs.
    """
    return await run(call, ListBlacklist() if vlan is None else BlacklistVlan(vlan))


@family.command("clear vlans [prefix]", effect=Effect.NONE)
async def clear_vlans(call: Cmd, prefix: str | None = None) -> Groups:
    """Forget the VLAN aliases of this namespace, or those that begin with a prefix

    Without a prefix the range and the blacklist of the namespace go too; `all` does it for every namespace. Numbers
    that ports still use are not given out again.
    """
    if prefix == "all":
        return await run(call, ClearVlans(everything=True))
    return await run(call, ClearVlans(prefix))
