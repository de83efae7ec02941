"""Which of many hosts answer, found out at once and within a time; blocking, no process, anyone may call it.

First an ICMP echo to each from one socket (Linux: a datagram socket where net.ipv4.ping_group_range allows it, else a
raw one, icmp(7)), then, for those that are silent or where no such socket may be had, a TCP connection attempt: an
accepted and a refused one both say that somebody is there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterable

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_BURST = 64
_SILENT = (errno.EAGAIN, errno.EWOULDBLOCK)
_THERE = (0, errno.ECONNREFUSED)
_REPLY_BYTES = 1024
_IP_PROTOCOL_ICMP = 1


def answering(addresses: Iterable[str], *, port: int, budget_s: float, parallel: int) -> set[str]:
    """The IPv4 addresses that answered within `budget_s`; at most `parallel` connections are tried at a time."""
    wanted = list(dict.fromkeys(addresses))
    deadline = time.monotonic() + budget_s
    alive = _echoed(wanted, time.monotonic() + budget_s / 2)
    silent = [address for address in wanted if address not in alive]
    return alive | _connected(silent, port, deadline, max(1, parallel))


# ---------------------------------------------------------------------- ICMP


def _echoed(addresses: list[str], deadline: float) -> set[str]:
    opened = _icmp_socket()
    if opened is None or not addresses:
        return set()
    ping, raw = opened
    with ping:
        waiting, alive = set(addresses), set[str]()
        packet = _echo_request(os.getpid() & 0xFFFF)
        for start in range(0, len(addresses), _BURST):
            for address in addresses[start : start + _BURST]:
                with contextlib.suppress(OSError):  # no route to it: it does not answer
                    ping.sendto(packet, (address, 0))
            _collect(ping, raw, waiting, alive)
        while waiting and (left_s := deadline - time.monotonic()) > 0:
            if select.select([ping], [], [], left_s)[0]:
                _collect(ping, raw, waiting, alive)
    return alive


def _icmp_socket() -> tuple[socket.socket, bool] | None:
    """A socket and whether it is raw; None where neither is allowed."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            ping = socket.socket(socket.AF_INET, kind, _IP_PROTOCOL_ICMP)
        except OSError:
            continue
        ping.setblocking(False)
        ping.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        return ping, kind == socket.SOCK_RAW
    return None


def _echo_request(identifier: int) -> bytes:
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, 1)
    return struct.pack("!BBHHH", _ECHO_REQUEST, 0, _checksum(head), identifier, 1)


def _checksum(packet: bytes) -> int:
    total = sum(int.from_bytes(packet[at : at + 2], "big") for at in range(0, len(packet), 2))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _collect(ping: socket.socket, raw: bool, waiting: set[str], alive: set[str]) -> None:
    while True:
        try:
            packet, sender = ping.recvfrom(_REPLY_BYTES)
        except OSError as error:
            if error.errno in _SILENT:
                return
            continue  # an ICMP error about one of ours: the next one may be an answer
        kind = packet[(packet[0] & 0xF) * 4] if raw else packet[0]
        if kind == _ECHO_REPLY and sender[0] in waiting:
            waiting.discard(sender[0])
            alive.add(sender[0])


# ---------------------------------------------------------------------- TCP


def _connected(addresses: list[str], port: int, deadline: float, parallel: int) -> set[str]:
    """Rounds of at most `parallel` attempts share the time that is left."""
    alive: set[str] = set()
    rounds = [addresses[start : start + parallel] for start in range(0, len(addresses), parallel)]
    for number, some in enumerate(rounds):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        alive |= _one_round(some, port, left_s / (len(rounds) - number))
    return alive


def _one_round(addresses: list[str], port: int, seconds: float) -> set[str]:
    alive: set[str] = set()
    pending: dict[int, tuple[socket.socket, str]] = {}
    poll = select.poll()
    deadline = time.monotonic() + seconds
    try:
        for address in addresses:
            probe, status = _attempt(address, port)
            if probe is not None:
                pending[probe.fileno()] = (probe, address)
                poll.register(probe, select.POLLOUT)
            elif status in _THERE:
                alive.add(address)
        while pending and (left_s := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left_s * 1000):
                probe, address = pending.pop(descriptor)
                poll.unregister(descriptor)
                if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in _THERE:
                    alive.add(address)
                probe.close()
    finally:
        for probe, _ in pending.values():
            probe.close()
    return alive


def _attempt(address: str, port: int) -> tuple[socket.socket | None, int]:
    """A connection that is being made, or the error number it came to at once (0: it stands)."""
    try:
        probe = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:  # out of descriptors: this one is not asked
        return None, error.errno or errno.EMFILE
    probe.setblocking(False)
    status = probe.connect_ex((address, port))
    if status == errno.EINPROGRESS:
        return probe, status
    probe.close()
    return None, status
