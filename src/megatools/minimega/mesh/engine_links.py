"""Ends TCP connections of this process from the outside: Zenoh has no call for it.

Used by the engine process. A socket is found by the addresses of its two ends and shut down; both engines drop the
connection at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Sequence

_HostPort = tuple[str, int]


def shut_down(links: Sequence[tuple[str, str]]) -> int:
    """Shut sockets down by their near and far endpoint (`tls/10.0.0.1:9000`); returns how many were found."""
    wanted = {(host_port(near), host_port(far)) for near, far in links}
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # gone meanwhile, or no connection
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                found += _shut_down_one(int(name), wanted)
    return found


def _shut_down_one(fd: int, wanted: set[tuple[_HostPort, _HostPort]]) -> bool:
    with socket.socket(fileno=os.dup(fd)) as one:
        if one.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        ends = (_plain(one.getsockname()), _plain(one.getpeername()))
        if ends not in wanted:
            return False
        one.shutdown(socket.SHUT_RDWR)
        return True


def host_port(endpoint: str) -> tuple[str, int]:
    """The address and port in an endpoint; an IPv6 address without brackets and zone."""
    host, _, port = endpoint.partition("/")[2].partition("?")[0].partition("#")[0].rpartition(":")
    return host.strip("[]").partition("%")[0].removeprefix("::ffff:"), int(port)


def _plain(name: tuple[object, ...]) -> tuple[str, int]:
    return str(name[0]).partition("%")[0].removeprefix("::ffff:"), int(str(name[1]))
