"""What a port and the addresses behind it are: the records `vm` and `net` exchange. Pure; anyone may import them."""

from __future__ import annotations

import msgspec


class Port(msgspec.Struct, frozen=True):
    """A VM's tap on a bridge; no VLAN number means disconnected; `owner` is the VM's UUID, `mac` its NIC's address."""

    tap: str
    bridge: str
    vlan: int | None
    namespace: str
    owner: str
    mac: str


class Addresses(msgspec.Struct, frozen=True):
    """The addresses seen for a MAC, empty when unknown."""

    ip4: str = ""
    ip6: str = ""
