"""The command segment driver: a line of the configuration run for each node; see `hostkit.template`.

`{}` is the node, `{port}` its port, `{vlan}` the VLAN. The nodes are done one after the other: switches lock their
configuration. A command that fails does not keep the other nodes from being done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from megatools.hostkit import proc, template
from megatools.hostkit.errors import CommandFailed, InvalidInput, MegaError, chain_text
from megatools.igor.model.config import SegmentConfig
from megatools.igor.segment.driver import Port


class CommandSegment:
    """Separation through the site's own commands."""

    def __init__(self, config: SegmentConfig) -> None:
        self._join, self._leave = config.join, config.leave

    async def join(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """See SegmentDriver."""
        await self._each("join", self._join, ports, vlan, timeout_s)

    async def leave(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """See SegmentDriver."""
        await self._each("leave", self._leave, ports, vlan, timeout_s)

    async def _each(self, what: str, line: str, ports: Sequence[Port], vlan: int, timeout_s: float) -> None:
        if not line:
            raise InvalidInput(
                f'the segment driver has no command for "{what}"', hint=f"set segment.{what} in igor.conf"
            )
        deadline = time.monotonic() + timeout_s
        failures: list[str] = []
        for port in ports:
            try:
                words = template.filled(line, {"node": port.node, "port": port.name, "vlan": str(vlan)}, "node")
                await proc.run(words, timeout_s=max(0.1, deadline - time.monotonic()))
            except MegaError as error:
                failures.append(f"{port.node}: {chain_text(error)}")
        if failures:
            raise CommandFailed(
                f"{len(failures)} of {len(ports)} nodes could not {what} VLAN {vlan}: {'; '.join(failures[:3])}"
            )
