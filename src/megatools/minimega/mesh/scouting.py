"""Where nodes of one mesh look for each other: what the port, the context and the cluster are turned into.

Pure. Meshes of different contexts or clusters use different multicast groups and different keys, so that on one
network they never mix; neither group nor keys tell the context's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

import msgspec

from megatools.hostkit.errors import InvalidInput

DERIVED = ("", "255.255.255.255")
"""What `-broadcast` says when the group is to be derived; the second is the default of old scripts."""

_PREFIX_BYTES = 10
_GROUP_BASE = int(IPv4Address("239.192.0.0"))  # organisation-local scope, RFC 2365
_GROUP_BITS = 18


class Scouting(msgspec.Struct, frozen=True):
    """The multicast group to look on (empty: none) and addresses of nodes to begin with, as `host:port`."""

    group: str
    seeds: tuple[str, ...] = ()


def key_prefix(context: str, cluster: str) -> str:
    """What the keys of a mesh begin with."""
    return _digest(context, cluster).hex()[: 2 * _PREFIX_BYTES]


def scouting(broadcast: str, port: int, context: str, cluster: str) -> Scouting:
    """What `-broadcast` asks for: a multicast group, or a comma list of hosts to begin with. Raises InvalidInput."""
    if broadcast in DERIVED:
        number = int.from_bytes(_digest(context, cluster)[-4:], "big") % (1 << _GROUP_BITS)
        return Scouting(f"{IPv4Address(_GROUP_BASE + number)}:{port}")
    group = _multicast(broadcast)
    if group is not None:
        return Scouting(f"[{group}]:{port}" if group.version == 6 else f"{group}:{port}")
    return Scouting("", tuple(with_port(one.strip(), port) for one in broadcast.split(",") if one.strip()))


def with_port(address: str, port: int) -> str:
    """`host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address as `host:port`. Raises InvalidInput."""
    try:
        bare = ip_address(address)
    except ValueError:
        pass
    else:
        return f"[{bare}]:{port}" if bare.version == 6 else f"{bare}:{port}"
    host, colon, number = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, number = address, str(port)
    if not host or any(letter in host for letter in "/ #?") or not number.isdecimal() or not 0 < int(number) < 65536:
        raise InvalidInput(f'"{address}" is no address', hint="host or host:port")
    return f"{host}:{number}"


def endpoints(addresses: Sequence[str], protocol: str) -> list[str]:
    """Addresses as the engine writes them."""
    return [f"{protocol}/{address}" for address in addresses]


def _multicast(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if address.is_multicast else None


def _digest(context: str, cluster: str) -> bytes:
    return hashlib.sha256(f"megatools mesh\0{cluster}\0{context}".encode()).digest()
