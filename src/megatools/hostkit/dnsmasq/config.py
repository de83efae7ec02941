"""What dnsmasq reads: the text of its files, from a typed description. Pure; dnsmasq(8)."""

from __future__ import annotations

from pathlib import Path

import msgspec

CONFIG, LEASES, PID = "dnsmasq.conf", "dnsmasq.leases", "dnsmasq.pid"
STATIC_DIR, OPTIONS_DIR, HOSTS_DIR, UPSTREAM = "dhcp-hosts", "dhcp-opts", "hosts", "resolv.conf"
_MTU_OPTIONS = ("option:mtu,", "26,")
LIVE_FILE = "minimega"  # the one file we write in each of the watched directories


class Setup(msgspec.Struct, frozen=True):
    """A server: where it listens, the range it leases from, a user's own configuration file; empty: none."""

    listen: str = ""
    low: str = ""
    high: str = ""
    include: str = ""


class Live(msgspec.Struct, frozen=True):
    """What can be added while a server runs."""

    static: tuple[tuple[str, str], ...] = ()
    """MAC and IP address."""
    dns: tuple[tuple[str, str], ...] = ()
    """IP address and host name."""
    upstream: tuple[str, ...] = ()
    """Addresses of name servers."""
    options: tuple[str, ...] = ()
    """As behind `dhcp-option=`."""


def config_text(setup: Setup, directory: Path, user: str) -> str:
    """The configuration file of a server in a directory of its own."""
    lines = [
        f"user={user}",
        "bind-interfaces",
        "except-interface=lo",
        "strict-order",
        "no-ping",  # it would wait 3 s before each offer, on a network where nobody else gives addresses out
        "no-hosts",
        f"pid-file={directory / PID}",
        f"dhcp-leasefile={directory / LEASES}",
        "dhcp-lease-max=65536",
        f"dhcp-hostsdir={directory / STATIC_DIR}",
        f"dhcp-optsdir={directory / OPTIONS_DIR}",
        f"hostsdir={directory / HOSTS_DIR}",
        f"resolv-file={directory / UPSTREAM}",
    ]
    if setup.listen:
        lines.append(f"listen-address={setup.listen}")
    if setup.low:
        lines.append(f"dhcp-range={setup.low},{setup.high}")
    if setup.include:
        lines.append(f"conf-file={setup.include}")
    return "\n".join(lines) + "\n"


def live_files(live: Live, mtu: int = 0) -> dict[str, str]:
    """The files that are read while the server runs: path below its directory -> text.

    Clients are told `mtu` as theirs, unless it is 0 or the options say one.
    """
    told = any(option.startswith(_MTU_OPTIONS) for option in live.options)
    options = live.options if told or not mtu else (f"option:mtu,{mtu}", *live.options)
    return {
        f"{STATIC_DIR}/{LIVE_FILE}": "".join(f"{mac},{address}\n" for mac, address in live.static),
        f"{OPTIONS_DIR}/{LIVE_FILE}": "".join(f"{option}\n" for option in options),
        f"{HOSTS_DIR}/{LIVE_FILE}": "".join(f"{address} {name}\n" for address, name in live.dns),
        UPSTREAM: "".join(f"nameserver {address}\n" for address in live.upstream),
    }
