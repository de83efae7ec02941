"""Who has which lease: the lease file of dnsmasq, which it rewrites in place."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Lease(msgspec.Struct, frozen=True):
    """A lease; `expires` in seconds since 1970, 0 for never; `name` empty when the client gave none."""

    expires: int
    mac: str
    address: str
    name: str


def parse_leases(text: str) -> list[Lease]:
    """The IPv4 leases of a file: lines `expiry mac address name client-id`; unfinished lines are left out."""
    leases: list[Lease] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["duid"]:  # from here on leases of DHCPv6, which are not by MAC
            break
        if len(words) >= 5 and words[0].isdecimal():
            leases.append(Lease(int(words[0]), words[1].lower(), words[2], "" if words[3] == "*" else words[3]))
    return leases


class LeaseFile:
    """A lease file, read again only after it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (0, 0)
        self._by_mac: dict[str, Lease] = {}

    def by_mac(self) -> dict[str, Lease]:
        """The leases there are now, by MAC in lower case."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._by_mac = {lease.mac: lease for lease in parse_leases(self._path.read_text(errors="replace"))}
                self._stamp = stamp
        except FileNotFoundError:
            self._by_mac = {}
        return self._by_mac
