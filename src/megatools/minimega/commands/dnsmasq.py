"""DHCP and DNS servers: `dnsmasq` (spec B.15)."""

from __future__ import annotations

from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.net.operations import AddDhcpLive, KillDhcp, ListDhcp, ListDhcpLive, StartDhcp

family: Family[Services] = Family("dnsmasq", "DHCP and DNS servers")


@family.command("dnsmasq", effect=Effect.NONE)
async def dnsmasq(call: Cmd) -> Groups:
    """List the DHCP servers of this namespace"""
    return await run(call, ListDhcp())


@family.command(
    "dnsmasq start <listen address> <low dhcp range> <high dhcp range> [config]",
    "dnsmasq start <config>",
    effect=Effect.NONE,
)
async def dnsmasq_start(
    call: Cmd, listen: str = "", low: str = "", high: str = "", config: str | None = None
) -> Groups:
    """Start a DHCP and DNS server and wait until it answers, or say why not

    The address to listen on must be one of this host, of a tap for instance. Addresses from the low to the high one
    are leased. A configuration file of dnsmasq's own form is read in addition, or alone.
    """
    return await run(call, StartDhcp(listen, low, high, config or ""))


@family.command("dnsmasq kill <id or all>", suggest={"id": "dnsmasq"}, effect=Effect.NONE)
async def dnsmasq_kill(call: Cmd, id: str) -> Groups:
    """End a server of this namespace, or all of them"""
    return await run(call, KillDhcp(id))


@family.command(
    "dnsmasq configure <id or all> <ip,>",
    "dnsmasq configure <id or all> <ip,> <mac address> <address>",
    suggest={"id": "dnsmasq"},
    effect=Effect.NONE,
)
async def dnsmasq_static(
    call: Cmd,
    id: str,
    ip: bool = False,
    mac: str = "",
    address: str = "",
) -> Groups:
    """List the fixed addresses of a server, or give a MAC one"""
    del ip
    return await _live(call, id, "static", (mac, address) if mac else ())


@family.command(
    "dnsmasq configure <id or all> <dns,>",
    "dnsmasq configure <id or all> <dns,> <ip> <hostname>",
    suggest={"id": "dnsmasq"},
    effect=Effect.NONE,
)
async def dnsmasq_names(
    call: Cmd,
    id: str,
    dns: bool = False,
    ip: str = "",
    hostname: str = "",
) -> Groups:
    """List the names a server answers, or add one"""
    del dns
    return await _live(call, id, "dns", (ip, hostname) if ip else ())


@family.command(
    "dnsmasq configure <id or all> dns upstream",
    "dnsmasq configure <id or all> dns upstream server <ip>",
    suggest={"id": "dnsmasq"},
    effect=Effect.NONE,
)
async def dnsmasq_upstream(call: Cmd, id: str, ip: str = "") -> Groups:
    """List the name servers a server asks about other names, or add one"""
    return await _live(call, id, "upstream", (ip,) if ip else ())


@family.command(
    "dnsmasq configure <id or all> options",
    "dnsmasq configure <id or all> options <optionstring>",
    suggest={"id": "dnsmasq"},
    effect=Effect.NONE,
)
async def dnsmasq_options(call: Cmd, id: str, optionstring: str = "") -> Groups:
    """List the DHCP options a server hands out, or add one, written as in dnsmasq's dhcp-option"""
    return await _live(call, id, "options", (optionstring,) if optionstring else ())


async def _live(call: Cmd, target: str, what: str, values: tuple[str, ...]) -> Groups:
    if values:
        return await run(call, AddDhcpLive(target, what, values))
    return await run(call, ListDhcpLive(target, what))
