"""Bridges that span the hosts of a namespace (spec B.12 `ns bridge`)."""

from __future__ import annotations

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("ns-bridge", "Bridges over the hosts of a namespace")


@family.command("ns bridge <bridge> [vxlan,gre]", suggest={"bridge": "bridge"})
async def ns_bridge(call: Cmd, bridge: str, vxlan: bool = False, gre: bool = False) -> str:
    """Join the hosts of the namespace with a bridge

    The bridge, made where it is missing, gets a tunnel between each two hosts, with a key chosen at random. VMs of one
    VLAN on different hosts are then on one network, DHCP included; frames never go round. Hosts that are added to the
    namespace later, or come back, are joined too. The default is gre, or vxlan where a host has no GRE.

    All VLANs of the bridge pass, those of other namespaces on it too. On a network between the hosts that does not
    carry more than 1500 bytes, guests with an MTU of 1446 (vxlan) or 1454 (gre) save it fragments; `dnsmasq` on a host
    tap of the bridge tells them so. Nothing happens in a namespace of one host.
    """
    kind = TunnelKind.VXLAN if vxlan else TunnelKind.GRE if gre else None
    return await call.services.bridging.join(call.namespace, bridge, kind)


@family.command("ns del-bridge <bridge>", suggest={"bridge": "bridge"})
async def ns_del_bridge(call: Cmd, bridge: str) -> str:
    """Let each host of the namespace have a bridge for itself again

    The tunnels of `ns bridge` go. So does the bridge where minimega made it and nothing else is on it.
    """
    return await call.services.bridging.leave(call.namespace, bridge)
