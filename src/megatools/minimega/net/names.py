"""What names and numbers of networks must look like; each check returns the value in its one spelling."""

from __future__ import annotations

import re

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.taps import check_name

VLAN_LIMIT = 4096
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_RESERVED = frozenset({"lo", "all", "default", "none", "dhcp", "ovs-netdev", "ovs-system", "bonding_masters"})


def check_vlan(vlan: int) -> int:
    """A VLAN tag; raises InvalidInput."""
    if not 0 <= vlan < VLAN_LIMIT:
        raise InvalidInput("invalid VLAN (0 <= vlan < 4096)", hint=f"the VLAN given is {vlan}")
    return vlan


def check_bridge(name: str) -> str:
    """A bridge's name; raises InvalidInput."""
    return _check_interface(name, "bridge")


def check_tap(name: str) -> str:
    """A tap's name; raises InvalidInput."""
    return _check_interface(name, "tap")


def check_mac(mac: str) -> str:
    """A unicast MAC address in lower case; raises InvalidInput."""
    if not _MAC.fullmatch(mac):
        raise InvalidInput(f'invalid MAC address "{mac}"', hint="six pairs of digits, as in 00:11:22:33:44:55")
    if int(mac[:2], 16) & 1:
        raise InvalidInput(f'MAC address "{mac}" is a multicast address', hint="the first byte must be even")
    return mac.lower()


def _check_interface(name: str, what: str) -> str:
    if name in _RESERVED:
        raise InvalidInput(f'{what} name "{name}" is reserved', hint="take another name")
    return check_name(name, what)
