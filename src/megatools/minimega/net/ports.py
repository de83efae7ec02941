"""What is asked of the network, and what it tells: records. Any ring from `net` outwards may use them."""

from __future__ import annotations

from pathlib import Path

import msgspec

DEFAULT_BRIDGE = "mega_bridge"


class Port(msgspec.Struct, frozen=True):
    """A tap of a VM and where it belongs; `vlan` None: the tap exists, but is on no bridge (disconnected)."""

    tap: str
    bridge: str
    vlan: int | None
    namespace: str
    owner: str
    mac: str


class Addresses(msgspec.Struct, frozen=True):
    """The addresses seen for a MAC; empty when unknown."""

    ip4: str = ""
    ip6: str = ""


class OvsSettings(msgspec.Struct, frozen=True):
    """Which Open vSwitch to use; None: the system's, or a private one where there is none."""

    run_dir: Path | None = None
