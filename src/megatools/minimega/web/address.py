"""Where the pages are served: reading an address, binding it, and which host names are ours.

Pure but for `listen`; `server` and `guard` call it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from megatools.hostkit.errors import InvalidInput, PermissionDenied, Unavailable

DEFAULT_PORT = 8080
_LOOPBACK = ("127.0.0.1", "::1")
_BACKLOG = 256
_ABSENT_FAMILY = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True)
class Address:
    """Addresses to bind, all on one port (0: any free one)."""

    hosts: tuple[str, ...]
    port: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return all(ipaddress.ip_address(host).is_loopback for host in self.hosts)


def parse_address(text: str) -> Address:
    """Read `PORT`, `:PORT`, `IP`, `IP:PORT` or `[IPv6]:PORT`; without an IP it means this machine only.

    Raises InvalidInput when it is none of these, or the port is outside 0..65535.
    """
    host, port = _split(text.strip())
    if host in ("", "localhost"):
        return Address(_LOOPBACK, port)
    try:
        return Address((str(ipaddress.ip_address(host)),), port)
    except ValueError:
        raise InvalidInput(
            f'"{host}" is not an IP address', hint="give a port, or an address and port such as 0.0.0.0:8080"
        ) from None


def _split(text: str) -> tuple[str, int]:
    if text.isdigit():
        return "", _port(text)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, _port(rest.removeprefix(":"))
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port)
    return text, DEFAULT_PORT


def _port(text: str) -> int:
    if text == "":
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise InvalidInput(f'port "{text}" is not a number in 0..65535', hint="for example: vnc serve :8081")
    return int(text)


def listen(address: Address) -> list[socket.socket]:
    """Bind and listen on every host of an address, the first one's port for all.

    Raises Unavailable when the port is in use, PermissionDenied and InvalidInput when the kernel says so.
    """
    bound: list[socket.socket] = []
    port = address.port
    try:
        for host in address.hosts:
            one = _bind(host, port, optional=bool(bound))
            if one is not None:
                bound.append(one)
                port = int(one.getsockname()[1])
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _bind(host: str, port: int, *, optional: bool) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one: socket.socket | None = None
    try:
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        one.bind((host, port))
        one.listen(_BACKLOG)
        one.setblocking(False)
    except OSError as error:
        if one is not None:
            one.close()
        if optional and error.errno in _ABSENT_FAMILY:
            return None  # a machine without IPv6
        raise _refusal(host, port, error) from error
    return one


def _refusal(host: str, port: int, error: OSError) -> Exception:
    match error.errno:
        case errno.EADDRINUSE:
            return Unavailable(f'port "{port}" is in use', hint="serve on another one, for example: vnc serve :8081")
        case errno.EACCES:
            return PermissionDenied(f'not allowed to serve on port "{port}"', hint="use a port above 1023")
        case _:
            return InvalidInput(f'cannot serve on "{host}" port "{port}"')


def public_host(address: Address) -> str:
    """The name to put in a URL."""
    if address.is_local:
        return "localhost"
    host = ipaddress.ip_address(address.hosts[0])
    if host.is_unspecified:
        return socket.gethostname()
    return f"[{host}]" if host.version == 6 else str(host)


def host_of(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def is_own_host(header: str, names: frozenset[str]) -> bool:
    """Whether a Host header may be answered: a literal address, `localhost`, or one of our names.

    Any other name could be one that an attacker's name server points at us (DNS rebinding).
    """
    host = host_of(header)
    if host == "localhost" or host in names:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
