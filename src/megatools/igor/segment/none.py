"""The segment driver of clusters whose nodes share one network: it does nothing."""

from __future__ import annotations

from collections.abc import Sequence

from megatools.igor.segment.driver import Port


class NoSegment:
    """See SegmentDriver."""

    async def join(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """Nothing."""

    async def leave(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """Nothing."""
