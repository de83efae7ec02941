"""Ask the kernel about interfaces and addresses, and add addresses: rtnetlink and generic netlink, spoken directly.

Anyone may use it. Each call is a short exchange on a socket of its own (well under a millisecond) and may be made
from an event loop. pyroute2 is left for what needs more (its import alone takes 260 ms). Sources: rtnetlink(7),
`linux/genetlink.h`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TypeAlias

import msgspec

from megatools.hostkit.errors import AlreadyExists, CommandFailed, NotFound, PermissionDenied, Unavailable

Interface: TypeAlias = IPv4Interface | IPv6Interface

_NLMSG = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFADDR = struct.Struct("=BBBBI")
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_RTM_NEWADDR, _RTM_GETADDR = 20, 22
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME = 0x10, 3, 2
_NETLINK_ROUTE, _NETLINK_GENERIC = 0, 16
_TIMEOUT_S = 5.0


class Address(msgspec.Struct, frozen=True):
    """An address on an interface of this network namespace."""

    interface: str
    address: Interface


def addresses() -> list[Address]:
    """Every address of every interface."""
    body = _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    names = dict(socket.if_nameindex())
    found: list[Address] = []
    for kind, payload in _exchange(_NETLINK_ROUTE, _RTM_GETADDR, _REQUEST | _DUMP, body):
        if kind != _RTM_NEWADDR:
            continue
        _, prefix, _, _, index = _IFADDR.unpack_from(payload)
        parts = dict(_attributes(payload[_IFADDR.size :]))
        raw = parts.get(_IFA_LOCAL, parts.get(_IFA_ADDRESS))
        if raw is not None and index in names:
            text = socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)
            found.append(Address(names[index], ip_interface(f"{text}/{prefix}")))
    return found


def add_address(interface: str, address: Interface) -> None:
    """Give an interface an address. Raises NotFound, AlreadyExists, PermissionDenied, CommandFailed."""
    try:
        index = socket.if_nametoindex(interface)
    except OSError as error:
        raise NotFound(f'no interface "{interface}"') from error
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _IFADDR.pack(family, address.network.prefixlen, 0, 0, index)
    body += _attribute(_IFA_LOCAL, address.ip.packed) + _attribute(_IFA_ADDRESS, address.ip.packed)
    if isinstance(address, IPv4Interface):
        if address.network.prefixlen < 31:
            body += _attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    else:
        body += _attribute(_IFA_FLAGS, struct.pack("=I", _IFA_F_NODAD))
    flags = _REQUEST | _ACK | _CREATE | _EXCLUSIVE
    try:
        list(_exchange(_NETLINK_ROUTE, _RTM_NEWADDR, flags, body))
    except FileExistsError as error:
        raise AlreadyExists(f'interface "{interface}" has address {address} already') from error
    except PermissionError as error:
        raise PermissionDenied(f'may not add an address to interface "{interface}"', hint="run as root") from error
    except OSError as error:
        raise CommandFailed(f'cannot add address {address} to interface "{interface}": {error.strerror}') from error


def has_generic_family(name: str) -> bool:
    """Whether the kernel has this generic netlink family (for instance `ovs_datapath`), modules not loaded aside."""
    body = struct.pack("=BBH", _CTRL_CMD_GETFAMILY, 1, 0) + _attribute(_CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0")
    try:
        list(_exchange(_NETLINK_GENERIC, _GENL_ID_CTRL, _REQUEST | _ACK, body))
    except (FileNotFoundError, Unavailable):
        return False
    return True


def _exchange(protocol: int, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Send one request; the answers as (type, payload) until done. Raises OSError as the kernel says, Unavailable."""
    try:
        channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    except OSError as error:
        raise Unavailable("the kernel refuses a netlink socket") from error
    with channel:
        channel.settimeout(_TIMEOUT_S)
        channel.send(_NLMSG.pack(_NLMSG.size + len(body), kind, flags, 1, 0) + body)
        while True:
            try:
                data = channel.recv(1 << 17)
            except TimeoutError as error:
                raise Unavailable(f"the kernel did not answer on netlink within {_TIMEOUT_S:g} s") from error
            for answer, payload in _messages(data):
                if answer == _NLMSG_DONE:
                    return
                if answer == _NLMSG_ERROR:
                    (number,) = struct.unpack_from("=i", payload)
                    if number:
                        raise OSError(-number, os.strerror(-number))
                    return
                yield answer, payload


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _NLMSG.size <= len(data):
        length, kind, _, _, _ = _NLMSG.unpack_from(data, at)
        if length < _NLMSG.size:
            return
        yield kind, data[at + _NLMSG.size : at + length]
        at += (length + 3) & ~3


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
