"""Host taps: `tap`, `clear tap` (spec B.14)."""

from __future__ import annotations

from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.net.operations import CreateTap, DeleteTap, ListTaps

family: Family[Services] = Family("tap", "Host taps")


@family.command("tap", effect=Effect.NONE)
async def tap(call: Cmd) -> Groups:
    """List the taps of this namespace through which the host takes part in its networks"""
    return await run(call, ListTaps())


@family.command(
    "tap create <vlan>",
    "tap create <vlan> name <tap name>",
    "tap create <vlan> <dhcp,> [tap name]",
    "tap create <vlan> ip <ip> [tap name]",
    "tap create <vlan> bridge <bridge>",
    "tap create <vlan> bridge <bridge> name <tap name>",
    "tap create <vlan> bridge <bridge> <dhcp,> [tap name]",
    "tap create <vlan> bridge <bridge> ip <ip> [tap name]",
    suggest={"vlan": "vlan", "bridge": "bridge"},
    effect=Effect.NONE,
)
async def tap_create(
    call: Cmd, vlan: str, bridge: str = "", tap: str | None = None, dhcp: bool = False, ip: str = ""
) -> Groups:
    """Make a tap on a VLAN, with an address or without, and answer its name

    `ip` takes an address with its prefix length, as in 10.0.0.1/24, whose subnet no other interface may have; `dhcp`
    asks a server on that VLAN. Without a name the tap is called mega_tapN. The bridge (mega_bridge) is made if
    missing. When anything fails, no tap is left.
    """
    return await run(call, CreateTap(vlan, bridge, tap or "", "dhcp" if dhcp else ip))


@family.command("tap delete <tap name>", suggest={"tap": "tap"}, effect=Effect.NONE)
async def tap_delete(call: Cmd, tap: str) -> Groups:
    """Remove a tap of this namespace, or all of them"""
    return await run(call, DeleteTap(tap))


@family.command("clear tap", effect=Effect.NONE)
async def clear_tap(call: Cmd) -> Groups:
    """Remove all taps of this namespace"""
    return await run(call, DeleteTap("all"))
