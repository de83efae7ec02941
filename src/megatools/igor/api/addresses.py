"""The addresses of nodes, from the host's resolver; the engine is given it, tests give another."""

from __future__ import annotations

import socket


def resolve_ipv4(name: str) -> str:
    """The first IPv4 address of a name, or an empty text when it has none."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ""
    return str(found[0][4][0]) if found else ""
