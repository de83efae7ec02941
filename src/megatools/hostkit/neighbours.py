"""Hear which addresses speak on an interface: ARP (RFC 826) and IPv6 neighbour discovery (RFC 4861).

Anyone may use it. `parse` is pure; `Listener` reads an AF_PACKET socket behind a kernel filter, from the event loop,
and never more than a bounded number of packets a second.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import socket
import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import msgspec

from megatools.hostkit.errors import PermissionDenied, Unavailable

_log = logging.getLogger(__name__)
_ETH_P_ALL, _ETH_ARP, _ETH_IPV6 = 0x0003, 0x0806, 0x86DD
_VLAN_TYPES = (0x8100, 0x88A8)
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2
_SO_ATTACH_FILTER = 26
_SNAP_BYTES = 256
_BURST = 64
_PAUSE_S = 0.05  # after a burst: at most 1280 packets a second, a few per cent of a processor


class Sighting(msgspec.Struct, frozen=True):
    """A MAC in lower case and an address it says it has."""

    mac: str
    address: str
    version: int


def parse(frame: bytes) -> Sighting | None:
    """What an Ethernet frame, VLAN tags or not, says about its sender; None when that is nothing."""
    at = 12
    kind = int.from_bytes(frame[at : at + 2], "big")
    while kind in _VLAN_TYPES:
        at += 4
        kind = int.from_bytes(frame[at : at + 2], "big")
    payload = frame[at + 2 :]
    if kind == _ETH_ARP:
        return _parse_arp(payload)
    if kind == _ETH_IPV6:
        return _parse_discovery(payload, frame[6:12])
    return None


def _parse_arp(packet: bytes) -> Sighting | None:
    if len(packet) < 28 or packet[:6] != b"\x00\x01\x08\x00\x06\x04":
        return None
    address = IPv4Address(packet[14:18])
    if address.is_unspecified or address.is_multicast or address.is_loopback:  # 0.0.0.0: a probe (RFC 5227)
        return None
    return _sighting(packet[8:14], str(address), 4)


def _parse_discovery(packet: bytes, sender: bytes) -> Sighting | None:
    if len(packet) < 64 or packet[6] != 58:  # ICMPv6 directly behind the IPv6 header
        return None
    kind = packet[40]
    if kind == _SOLICITATION:
        address, option = IPv6Address(packet[8:24]), _SOURCE_LINK_LAYER
    elif kind == _ADVERTISEMENT:
        address, option = IPv6Address(packet[48:64]), _TARGET_LINK_LAYER
    else:
        return None
    if address.is_unspecified or address.is_multicast or address.is_loopback:  # unspecified: a duplicate probe
        return None
    return _sighting(_link_layer(packet[64:], option) or sender, str(address), 6)


def _link_layer(options: bytes, wanted: int) -> bytes:
    at = 0
    while at + 8 <= len(options):
        kind, length = options[at], options[at + 1] * 8
        if length == 0:
            break
        if kind == wanted and length == 8:
            return options[at + 2 : at + 8]
        at += length
    return b""


def _sighting(mac: bytes, address: str, version: int) -> Sighting | None:
    if len(mac) != 6 or mac[0] & 1:
        return None
    return Sighting(mac.hex(":"), address, version)


class Listener:
    """Hears one interface until closed; `hear` is called in the event loop for every sighting."""

    def __init__(self, interface: str, hear: Callable[[Sighting], None]) -> None:
        """Start to listen; raises Unavailable (no such interface), PermissionDenied."""
        self.interface = interface
        self._hear = hear
        self._resume: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._socket = _open(interface)
        self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        """Stop to listen."""
        if self._resume is not None:
            self._resume.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    @property
    def is_open(self) -> bool:
        """Whether it still listens; an interface that goes away ends it."""
        return self._socket.fileno() >= 0

    def _read(self) -> None:
        for _ in range(_BURST):
            try:
                frame = self._socket.recv(_SNAP_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == 100:  # ENETDOWN: set down for now, or gone
                    if self._gone():
                        self.close()
                    return
                _log.warning("no longer listening on %s: %s", self.interface, error)
                self.close()
                return
            sighting = parse(frame)
            if sighting is not None:
                self._hear(sighting)
        self._loop.remove_reader(self._socket)
        self._resume = self._loop.call_later(_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._socket, self._read)

    def _gone(self) -> bool:
        try:
            socket.if_nametoindex(self.interface)
        except OSError:
            return True
        return False


def _open(interface: str) -> socket.socket:
    try:
        heard = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    except PermissionError as error:
        raise PermissionDenied(f'may not listen on interface "{interface}"', hint="run as root") from error
    try:
        _attach_filter(heard)
        heard.bind((interface, _ETH_P_ALL))
    except OSError as error:
        heard.close()
        raise Unavailable(f'cannot listen on interface "{interface}"') from error
    return heard


def _attach_filter(heard: socket.socket) -> None:
    """Have the kernel drop all but ARP and neighbour discovery (VLAN tags are stripped before we see a frame)."""
    load_half, load_byte, equal, give = 0x28, 0x30, 0x15, 0x06
    program = [
        (load_half, 0, 0, 12),
        (equal, 6, 0, _ETH_ARP),
        (equal, 0, 6, _ETH_IPV6),
        (load_byte, 0, 0, 20),
        (equal, 0, 4, 58),
        (load_byte, 0, 0, 54),
        (equal, 1, 0, _SOLICITATION),
        (equal, 0, 1, _ADVERTISEMENT),
        (give, 0, 0, _SNAP_BYTES),
        (give, 0, 0, 0),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    heard.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
