"""Bridges, their trunks and tunnels: `bridge` (spec B.14)."""

from __future__ import annotations

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.net.bridge_operations import (
    AddTrunk,
    AddTunnel,
    ConfigureBridge,
    DestroyBridge,
    ListBridges,
    RemoveTrunk,
    RemoveTunnel,
)

family: Family[Services] = Family("bridge", "Bridges")


@family.command("bridge", effect=Effect.NONE)
async def bridge(call: Cmd) -> Groups:
    """List all bridges of Open vSwitch, with the VLANs our taps use on them

    `preexisting` ones were not made by this daemon and are never removed. `trunks` are cards of this host plugged into
    a bridge, `tunnels` lead to bridges of other hosts.
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


@family.command("bridge trunk <bridge> <interface>", suggest={"bridge": "bridge"}, effect=Effect.NONE)
async def bridge_trunk(call: Cmd, bridge: str, interface: str) -> Groups:
    """Plug a network card of this host into a bridge, which is made if missing

    All VLANs pass, tagged (IEEE 802.1Q), so bridges whose cards are plugged into one switch, with the VLANs allowed
    there, are one network. The card must have no address; it is set up, and given back as it was.
    """
    return await run(call, AddTrunk(bridge, interface))


@family.command("bridge notrunk <bridge> <interface>", suggest={"bridge": "bridge"}, effect=Effect.NONE)
async def bridge_notrunk(call: Cmd, bridge: str, interface: str) -> Groups:
    """Take a network card off a bridge, and make it what it was"""
    return await run(call, RemoveTrunk(bridge, interface))


@family.command(
    "bridge tunnel <vxlan,gre> <bridge> <remote ip> [key]", suggest={"bridge": "bridge"}, effect=Effect.NONE
)
async def bridge_tunnel(
    call: Cmd, bridge: str, remote: str, key: str | None = None, vxlan: bool = False, gre: bool = False
) -> Groups:
    """Join a bridge to one of another host through a tunnel, and say its name

    The other host needs a tunnel back, of the same kind and key. All VLANs pass. Nothing looks for loops: join bridges
    in a line or a star, or see `bridge config` for rstp_enable. To join all hosts of a namespace, see `ns bridge`.
    """
    del gre
    return await run(call, AddTunnel(TunnelKind.VXLAN if vxlan else TunnelKind.GRE, bridge, remote, key or ""))


@family.command("bridge notunnel <bridge> <interface>", suggest={"bridge": "bridge"}, effect=Effect.NONE)
async def bridge_notunnel(call: Cmd, bridge: str, interface: str) -> Groups:
    """Remove a tunnel from a bridge"""
    return await run(call, RemoveTunnel(bridge, interface))
