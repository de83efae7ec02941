"""Network cards that are lent to a switch, and given back as they were: through ioctl, in microseconds.

Anyone may use it. A switch in userspace reads frames as they come, so nothing may merge them before (`merging`).
Sources: netdevice(7), `linux/ethtool.h`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import socket
import struct

import msgspec

from megatools.hostkit.errors import CommandFailed, NotFound, PermissionDenied

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCETHTOOL = 0x8946
_GET_GRO, _SET_GRO = 0x2B, 0x2C
_GET_FLAGS, _SET_FLAGS = 0x25, 0x26
_LRO = 1 << 15
_IFF_UP, _IFF_LOOPBACK, _IFF_PROMISC = 0x1, 0x8, 0x100


class NicState(msgspec.Struct, frozen=True):
    """What is changed when a card is lent: whether it is up, hears everything, and merges frames (GRO, LRO)."""

    up: bool
    promisc: bool
    gro: bool
    lro: bool


def state(name: str) -> NicState:
    """How a card is now. Raises NotFound, and CommandFailed for the loopback, which is none."""
    flags = _flags(name)
    if flags & _IFF_LOOPBACK:
        raise CommandFailed(f'"{name}" is the loopback, not a network card')
    lro = bool(_ethtool(name, _GET_FLAGS) & _LRO)
    return NicState(bool(flags & _IFF_UP), bool(flags & _IFF_PROMISC), bool(_ethtool(name, _GET_GRO)), lro)


def lend(name: str, *, merging: bool) -> None:
    """Set a card up, and hear everything on it. Raises NotFound, PermissionDenied, CommandFailed."""
    before = state(name)
    give_back(name, NicState(True, True, before.gro and merging, before.lro and merging))


def give_back(name: str, was: NicState) -> None:
    """Make a card what it was; one that is gone is not missed. Raises PermissionDenied, CommandFailed."""
    try:
        now = state(name)
        if now.gro != was.gro:
            _ethtool(name, _SET_GRO, int(was.gro))
        if now.lro != was.lro:
            features = _ethtool(name, _GET_FLAGS)
            _ethtool(name, _SET_FLAGS, features | _LRO if was.lro else features & ~_LRO)
        flags = _flags(name) & ~(_IFF_UP | _IFF_PROMISC)
        _set_flags(name, flags | (_IFF_UP if was.up else 0) | (_IFF_PROMISC if was.promisc else 0))
    except NotFound:
        return
    except PermissionError as error:
        raise PermissionDenied(f'may not change interface "{name}"', hint="run as root") from error
    except OSError as error:
        raise CommandFailed(f'cannot change interface "{name}"') from error


def _flags(name: str) -> int:
    with _control() as control:
        try:
            answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name.encode(), 0))
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise NotFound(f'no interface "{name}" on this host') from error
            raise
    return int(struct.unpack("16xH22x", answer)[0])


def _set_flags(name: str, flags: int) -> None:
    with _control() as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags))


def _ethtool(name: str, command: int, value: int = 0) -> int:
    """The answer to an ethtool command of one number; 0 where a driver does not know it."""
    words = ctypes.create_string_buffer(struct.pack("II", command, value))
    request = struct.pack("16sP16x", name.encode(), ctypes.addressof(words))
    with _control() as control, contextlib.suppress(OSError):
        fcntl.ioctl(control, _SIOCETHTOOL, request)
        return int(struct.unpack("II", words.raw[:8])[1])
    return 0


def _control() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
