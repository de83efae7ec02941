"""The network as virtual machines see it; `net.network.Network` satisfies `Ports`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from megatools.minimega.net.ports import Addresses, Port

__all__ = ["Addresses", "Port", "Ports"]


class Ports(Protocol):
    """Taps on bridges, in batches: one call per batch of VMs."""

    @property
    def offloads(self) -> bool:
        """Whether bridges complete the checksums that guests leave to their network card."""
        ...

    async def make(self, ports: Sequence[Port]) -> None:
        """Make the taps, all or none; they carry nothing until `plug`."""
        ...

    async def plug(self, ports: Sequence[Port]) -> None:
        """Put taps that were made on their bridges, all at once; a failure removes them all."""
        ...

    async def detach(self, taps: Sequence[str], /) -> None:
        """Take taps off their bridges and remove them; unknown ones are ignored."""
        ...

    def new_tap_names(self, count: int, /) -> list[str]:
        """Names for taps that do not exist yet."""
        ...

    def addresses(self, mac: str, /) -> Addresses:
        """The addresses seen for a MAC, empty when unknown."""
        ...
