"""What a segment driver is: it puts the switch ports of nodes into a VLAN, and takes them out. Used by `run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

MIN_VLAN, MAX_VLAN = 1, 4094


class Port(msgspec.Struct, frozen=True):
    """A node and what its switch calls its port; `name` is empty when nobody has said it."""

    node: str
    name: str


class SegmentDriver(Protocol):
    """One way to separate reservations from each other; both calls may be repeated without harm."""

    async def join(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """Put ports into a VLAN.

        Raises InvalidInput (a node without a port), CommandFailed, ProtocolError, PermissionDenied or Unavailable.
        """
        ...

    async def leave(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """Give ports back to the switch's default; raises as `join`."""
        ...
