"""Bridges: `bridge` (spec B.14). Trunks and tunnels come with the cluster."""

from __future__ import annotations

from megatools.hostkit.errors import Unavailable
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Group, Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.net.operations import ConfigureBridge, DestroyBridge, ListBridges

family: Family[Services] = Family("bridge", "Bridges")


@family.command("bridge", effect=Effect.NONE)
async def bridge(call: Cmd) -> Groups:
    """List all bridges of Open vSwitch, with the VLANs our taps use on them

    `preexisting` ones were not made by this daemon and are never removed.
    """
    return await run(call, ListBridges())


@family.command("bridge config <bridge> <config>", suggest={"bridge": "bridge"}, effect=Effect.NONE)
async def bridge_config(call: Cmd, bridge: str, config: str) -> Groups:
    """Set key=value on a bridge, which is made if missing

    stp_enable, rstp_enable and mcast_snooping_enable take true or false; any other key goes to Open vSwitch's
    other_config of the bridge.
    """
    return await run(call, ConfigureBridge(bridge, config))


@family.command("bridge destroy <bridge>", suggest={"bridge": "bridge"}, effect=Effect.NONE)
async def bridge_destroy(call: Cmd, bridge: str) -> Groups:
    """Remove a bridge that this daemon made and that nothing uses any more"""
    return await run(call, DestroyBridge(bridge))


@family.command(
    "bridge <trunk,> <bridge> <interface>",
    "bridge <notrunk,> <bridge> <interface>",
    "bridge <tunnel,> <vxlan,gre> <bridge> <remote ip> [key]",
    "bridge <notunnel,> <bridge> <interface>",
    suggest={"bridge": "bridge"},
)
async def bridge_links(
    call: Cmd,
    bridge: str,
    interface: str = "",
    remote: str = "",
    key: str | None = None,
    trunk: bool = False,
    notrunk: bool = False,
    tunnel: bool = False,
    notunnel: bool = False,
    vxlan: bool = False,
    gre: bool = False,
) -> Group:
    """Connect a bridge to an interface of this host, or through a tunnel to another host (not available yet)"""
    del call, bridge, interface, remote, key, notunnel, vxlan, gre
    verb = "trunk" if trunk else "notrunk" if notrunk else "tunnel" if tunnel else "notunnel"
    raise Unavailable(f'not available yet: "bridge {verb}"')
