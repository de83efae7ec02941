"""Persistent TAP devices and interface flags through ioctl: fractions of a millisecond each.

Anyone may use it; calls block (0.3 ms to make, up to 50 ms to remove a tap), so an event loop goes through the
`async` functions, which work in threads. Sources: Linux `tuntap.txt`, `netdevice(7)`, `if_tun.h`, `ethtool.h`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from megatools.hostkit.errors import AlreadyExists, CommandFailed, InvalidInput, NotFound, PermissionDenied, Unavailable

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCETHTOOL = 0x8946
_ETHTOOL_GDRVINFO = 0x03
_ETHTOOL_STXCSUM = 0x17
_IFF_UP = 0x1
_IFF_PROMISC = 0x100
_NAME_MAX = 15
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_REMOVERS = 16  # closing a persistent tap waits for RCU: 52 ms each one by one, 2 ms each this way


def check_name(name: str, what: str = "interface") -> str:
    """The name, if the kernel and Open vSwitch accept it; raises InvalidInput otherwise."""
    if not name or len(name) > _NAME_MAX:
        raise InvalidInput(
            f'{what} name "{name}" has {len(name)} characters, allowed are 1 to {_NAME_MAX}', hint="take another name"
        )
    if not _NAME.fullmatch(name) or name in (".", "..") or name.startswith("-"):
        raise InvalidInput(
            f'{what} name "{name}" has characters other than letters, digits, "_", "-" and "."',
            hint="take another name",
        )
    return name


def exists(name: str) -> bool:
    """Whether there is an interface of this name in our network namespace (sysfs may show another one's)."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False


def is_tap(name: str) -> bool:
    """Whether an interface is a TAP (or TUN) device. Those of ovs-vswitchd are persistent: they outlive it."""
    answer = ctypes.create_string_buffer(struct.pack("I192x", _ETHTOOL_GDRVINFO))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(answer))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError:
            return False
    return answer.raw[4:36].rstrip(b"\0") == b"tun"


def names() -> set[str]:
    """Every interface in our network namespace."""
    return {name for _, name in socket.if_nameindex()}


def create(name: str) -> None:
    """Make a persistent tap, one queue, without addresses of its own, and set it up.

    Raises AlreadyExists, PermissionDenied, Unavailable (no TUN support).
    """
    if exists(name):
        raise AlreadyExists(f'interface "{name}" exists already')
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise PermissionDenied("cannot open /dev/net/tun", hint="run as root") from error
    except OSError as error:
        raise Unavailable("the kernel has no TAP devices: cannot open /dev/net/tun", hint="modprobe tun") from error
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        fcntl.ioctl(tun, _TUNSETPERSIST, 1)
        try:
            disable_ipv6(name)
            set_flags(name, up=True)
        except OSError:
            fcntl.ioctl(tun, _TUNSETPERSIST, 0)
            raise
    except OSError as error:
        raise _refused("make", name, error) from error
    finally:
        os.close(tun)


def remove(name: str) -> None:
    """Remove a persistent tap; it goes when the last program that has it open lets go. Absent ones are not missed."""
    if not exists(name):
        return
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise PermissionDenied("cannot open /dev/net/tun", hint="run as root") from error
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
        fcntl.ioctl(tun, _TUNSETPERSIST, 0)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise _refused("remove", name, error) from error
        raise Unavailable(f'tap "{name}" is still in use by another program') from error
    finally:
        os.close(tun)


def set_flags(name: str, *, up: bool, promisc: bool = False) -> None:
    """Set an interface up or down; `promisc` adds promiscuous mode. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        (flags,) = struct.unpack("16xH22x", answer)
        flags = (flags | _IFF_UP if up else flags & ~_IFF_UP) | (_IFF_PROMISC if promisc else 0)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))


def is_up(name: str) -> bool:
    """Whether an interface exists and is set up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        except OSError:
            return False
    (flags,) = struct.unpack("16xH22x", answer)
    return bool(flags & _IFF_UP)


def disable_ipv6(name: str) -> None:
    """Keep the kernel from talking IPv6 on an interface (router solicitations would reach the guest)."""
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


def disable_arp_replies(name: str) -> None:
    """Keep the kernel from answering ARP for its addresses on an interface that only listens."""
    Path(f"/proc/sys/net/ipv4/conf/{name}/arp_ignore").write_text("8")


def disable_tx_offload(name: str) -> None:
    """Have the kernel compute checksums of what it sends here (userspace datapaths do not). Best effort."""
    value = ctypes.create_string_buffer(struct.pack("II", _ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control, contextlib.suppress(OSError):
        fcntl.ioctl(control, _SIOCETHTOOL, request)


async def create_many(wanted: Sequence[str]) -> None:
    """Make taps, all or none; raises as `create` does."""
    await asyncio.to_thread(_create_all, wanted)


async def remove_many(unwanted: Sequence[str]) -> list[str]:
    """Remove taps in parallel; returns those that could not be removed, with the reason."""
    present = [name for name in unwanted if exists(name)]
    if not present:
        return []
    return await asyncio.to_thread(_remove_all, present)


def _create_all(wanted: Sequence[str]) -> None:
    made: list[str] = []
    try:
        for name in wanted:
            create(name)
            made.append(name)
    except BaseException:
        _remove_all(made)
        raise


def _remove_all(unwanted: Sequence[str]) -> list[str]:
    def attempt(name: str) -> str:
        try:
            remove(name)
        except (CommandFailed, NotFound, Unavailable, PermissionDenied) as error:
            return str(error)
        return ""

    if not unwanted:
        return []
    with ThreadPoolExecutor(min(_REMOVERS, len(unwanted)), "tap") as pool:
        return [text for text in pool.map(attempt, unwanted) if text]


def _refused(verb: str, name: str, error: OSError) -> CommandFailed | PermissionDenied | AlreadyExists:
    if error.errno == errno.EPERM:
        return PermissionDenied(f'may not {verb} tap "{name}"', hint="run as root")
    if error.errno == errno.EBUSY:
        return AlreadyExists(f'interface "{name}" is in use')
    return CommandFailed(f'cannot {verb} tap "{name}": {error.strerror}')
