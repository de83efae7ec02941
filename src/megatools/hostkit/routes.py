"""Which address of ours other hosts reach us at: asked of the kernel's routing table, in microseconds.

Anyone may use it. Nothing is sent: a datagram socket that is connected only chooses its source address. Sources:
connect(2), ip(7), netdevice(7).
"""

from __future__ import annotations

import fcntl
import socket
import struct
from ipaddress import ip_address

from megatools.hostkit import netlink
from megatools.hostkit.errors import NotFound

_ELSEWHERE = "192.0.2.1"  # a test network (RFC 5737): the route to it is the default route
_SIOCGIFMTU = 0x8921


def source_towards(destination: str) -> str:
    """The source address of what we send to an address; empty when there is no route."""
    family = socket.AF_INET if ip_address(destination).version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as channel:
        try:
            channel.connect((destination, 9))
        except OSError:
            return ""
        return str(channel.getsockname()[0])


def own_address() -> str:
    """The address of the default route's interface, else of the first interface that has one; empty when none has."""
    if chosen := source_towards(_ELSEWHERE):
        return chosen
    return next((str(each.address.ip) for each in netlink.addresses() if _is_reachable(each)), "")


def interface_of(address: str) -> str:
    """The interface that has an address. Raises NotFound."""
    for each in netlink.addresses():
        if str(each.address.ip) == address:
            return each.interface
    raise NotFound(f"no interface of this host has the address {address}")


def mtu_of(interface: str) -> int:
    """The largest packet an interface sends, in bytes. Raises NotFound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            answer = fcntl.ioctl(control, _SIOCGIFMTU, struct.pack("16si12x", interface.encode(), 0))
        except OSError as error:
            raise NotFound(f'no interface "{interface}"') from error
    return int(struct.unpack("16xi12x", answer)[0])


def _is_reachable(each: netlink.Address) -> bool:
    address = each.address
    return each.interface != "lo" and not address.ip.is_loopback and not address.ip.is_link_local
