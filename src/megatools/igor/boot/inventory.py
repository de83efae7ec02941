"""What other programs' files say about nodes: MACs, addresses, boot modes. Pure; `igor nodes import` calls `parse`.

Understood (the first that fits the text): leases and `host` declarations of ISC dhcpd (dhcpd.leases(5), dhcpd.conf(5)),
leases and `dhcp-host=` lines of dnsmasq, CSV with a header, and ClusterShell node sets, each with what is true of all:

    kn[1-40]   boot=uefi power=ipmi
    kn[1-2]    mac=52:54:00:77:00:[01-02] port=Et[1-2]
    uefi: kn[1-40]                                      (a groups file: bios, uefi and http are boot modes)

Boot modes come from the client's architecture (RFC 4578, "PXEClient:Arch:00007", as iPXE and firmware send it).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import msgspec

from megatools.hostkit import ranges
from megatools.hostkit.dnsmasq.leases import parse_leases
from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.host import BootMode, Host

Facts: TypeAlias = dict[str, str]
"""What one line says of one node: its name and fields of `Host`."""

FIELDS = ("mac", "ip", "boot", "power", "power_address", "port", "blocked", "policy")
_ALIASES = {
    "node": "name", "host": "name", "hostname": "name", "bootmode": "boot", "boot_mode": "boot", "mode": "boot",
    "hwaddr": "mac", "macaddr": "mac", "address": "ip", "ipv4": "ip", "bmc": "power_address", "switchport": "port",
}  # fmt: skip
_MAC = re.compile(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}", re.IGNORECASE)
_IP = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")
_ARCH = re.compile(r"Arch:0*([0-9]+)")
_ISC_BLOCK = re.compile(r"^\s*(lease|host)\s+(\S+)\s*\{([^}]*)", re.MULTILINE)
_ISC_MAC = re.compile(r"hardware\s+ethernet\s+([0-9a-fA-F:]+)\s*;")
_ISC_IP = re.compile(r"fixed-address\s+([0-9.]+)\s*;")
_ISC_NAME = re.compile(r'(?:client-hostname|option\s+host-name)\s+"([^"]+)"\s*;')
_ISC_CLASS = re.compile(r'vendor-class-identifier\s*=?\s*"([^"]+)"\s*;')
_HTTP_ARCHITECTURES = frozenset(range(15, 31))
_UEFI_ARCHITECTURES = frozenset({2, 6, 7, 8, 9, 10, 11, 12, 13, 14})


class Found(msgspec.Struct, frozen=True):
    """What a file told: the nodes as they are now known, and what was left out, with the reason."""

    hosts: tuple[Host, ...]
    skipped: tuple[str, ...]


def parse(text: str, cluster: Cluster, known: Mapping[int, Host], source: str = "the file") -> Found:
    """Bring what is known of nodes up to date with a text; nodes it does not speak of are not in the result.

    Raises InvalidInput: an unknown format, a malformed MAC, address or boot mode, one MAC for two nodes.
    """
    reader = _reader(text)
    if reader is None:
        raise InvalidInput(
            f'"{source}" is neither a lease file, nor CSV with a header, nor node sets',
            hint="write lines such as kn[1-4] boot=uefi, or a CSV whose first line is name,mac,boot",
        )
    hosts: dict[int, Host] = {}
    skipped: list[str] = []
    for facts in reader(text):
        try:
            number = cluster.number(facts["name"].partition(".")[0])
        except NotFound as error:
            skipped.append(error.message)
            continue
        before = hosts.get(number) or known.get(number) or Host(number, cluster.name(number))
        hosts[number] = _updated(before, facts)
    _check_macs({**known, **hosts})
    return Found(tuple(hosts[number] for number in sorted(hosts)), tuple(dict.fromkeys(skipped)))


def boot_mode_of(architecture: int) -> BootMode:
    """The boot mode of a client architecture (IANA "Processor Architecture Types")."""
    if architecture in _HTTP_ARCHITECTURES:
        return BootMode.HTTP
    return BootMode.UEFI if architecture in _UEFI_ARCHITECTURES else BootMode.BIOS


def _reader(text: str) -> Callable[[str], Iterable[Facts]] | None:
    lines = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    if not lines:
        return _node_sets
    if re.search(r"^\s*(lease|host)\s+\S+\s*\{", text, re.MULTILINE):
        return _isc
    if any(line.startswith(("dhcp-host=", "dhcp-hostsfile=")) for line in lines):
        return _dnsmasq_config
    if len(parse_leases(text)) > 0:
        return _dnsmasq_leases
    header = {_field(word) for word in re.split(r"[,;\t]", lines[0])}
    if "name" in header and header & set(FIELDS):
        return _csv
    return _node_sets if all(_looks_like_set(line) for line in lines) else None


def _looks_like_set(line: str) -> bool:
    head, *rest = line.split()
    return (head.endswith(":") and len(rest) >= 1) or (len(rest) >= 1 and all("=" in word for word in rest))


def _field(word: str) -> str:
    plain = word.strip().strip('"').lower().replace("-", "_").replace(" ", "_")
    return _ALIASES.get(plain, plain)


def _csv(text: str) -> Iterable[Facts]:
    body = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    delimiter = next((mark for mark in (",", ";", "\t") if mark in body.partition("\n")[0]), ",")
    rows = csv.reader(io.StringIO(body), delimiter=delimiter, skipinitialspace=True)
    header = [_field(word) for word in next(rows)]
    for row in rows:
        facts = {field: value.strip() for field, value in zip(header, row, strict=False) if value.strip()}
        if "name" not in facts:
            raise InvalidInput(f'the line "{",".join(row)[:60]}" names no node')
        yield from _for_each(facts.pop("name"), facts)


def _node_sets(text: str) -> Iterable[Facts]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0].endswith(":"):
            yield from _for_each("".join(words[1:]), {"boot": words[0][:-1]})
            continue
        pairs = [word.partition("=") for word in words[1:]]
        yield from _for_each(words[0], {_field(name): value for name, _, value in pairs})


def _for_each(names: str, facts: Mapping[str, str]) -> Iterable[Facts]:
    """A line about several nodes: a value with brackets holds one for each, any other is true of all."""
    nodes = ranges.expand(names)
    columns: dict[str, list[str]] = {}
    for field, value in facts.items():
        if field not in FIELDS:
            raise InvalidInput(f'"{field}" is not known of nodes', hint=f"fields are {', '.join(FIELDS)}")
        values = ranges.expand(value) if "[" in value and field != "blocked" else [value] * len(nodes)
        if len(values) != len(nodes):
            raise InvalidInput(f'"{names}" are {len(nodes)} nodes, but "{value}" holds {len(values)} values')
        columns[field] = values
    for at, name in enumerate(nodes):
        yield {"name": name} | {field: values[at] for field, values in columns.items()}


def _dnsmasq_leases(text: str) -> Iterable[Facts]:
    for lease in parse_leases(text):
        if lease.name:
            yield {"name": lease.name, "mac": lease.mac, "ip": lease.address}


def _dnsmasq_config(text: str) -> Iterable[Facts]:
    for line in text.splitlines():
        key, _, value = line.partition("#")[0].strip().partition("=")
        if key.strip() != "dhcp-host":
            continue
        facts: Facts = {}
        for word in (part.strip() for part in value.split(",")):
            if _MAC.fullmatch(word):
                facts["mac"] = word
            elif _IP.fullmatch(word):
                facts["ip"] = word
            elif re.fullmatch(r"[A-Za-z][A-Za-z0-9.-]*", word) and word not in ("infinite", "ignore"):
                facts["name"] = word
        if "name" in facts:
            yield facts


def _isc(text: str) -> Iterable[Facts]:
    for block in _ISC_BLOCK.finditer(text):
        kind, subject, body = block[1], block[2], block[3]
        name = _ISC_NAME.search(body)
        facts: Facts = {"name": name[1] if name else (subject if kind == "host" else "")}
        address = _ISC_IP.search(body)
        if kind == "lease":
            facts["ip"] = subject
        elif address:
            facts["ip"] = address[1]
        mac, vendor = _ISC_MAC.search(body), _ISC_CLASS.search(body)
        if mac:
            facts["mac"] = mac[1]
        architecture = _ARCH.search(vendor[1]) if vendor else None
        if architecture:
            facts["boot"] = boot_mode_of(int(architecture[1])).value
        if facts["name"]:
            yield facts


def _updated(host: Host, facts: Facts) -> Host:
    mac, ip, boot = facts.get("mac", ""), facts.get("ip", ""), facts.get("boot", "")
    if mac and not _MAC.fullmatch(mac):
        raise InvalidInput(f'"{mac}" of node "{host.name}" is not a MAC', hint="write it as 52:54:00:77:00:01")
    if ip and (not _IP.fullmatch(ip) or any(int(part) > 255 for part in ip.split("."))):
        raise InvalidInput(f'"{ip}" of node "{host.name}" is not an IPv4 address')
    try:
        mode = BootMode(boot.lower()) if boot else host.boot
    except ValueError:
        known = ", ".join(mode.value for mode in BootMode)
        raise InvalidInput(f'"{boot}" of node "{host.name}" is not a boot mode', hint=f"modes are {known}") from None
    rest = {field: facts[field] for field in ("power", "power_address", "port", "blocked", "policy") if field in facts}
    mac = mac.lower().replace("-", ":") or host.mac
    return msgspec.structs.replace(host, mac=mac, ip=ip or host.ip, boot=mode, **rest)


def _check_macs(hosts: Mapping[int, Host]) -> None:
    holders: dict[str, Host] = {}
    for host in hosts.values():
        other = holders.setdefault(host.mac, host) if host.mac else host
        if other is not host:
            raise InvalidInput(f'MAC "{host.mac}" belongs to both "{other.name}" and "{host.name}"')
