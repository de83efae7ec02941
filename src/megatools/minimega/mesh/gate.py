"""What a request of another node waits for before it is served: set by `mesh.revocation`, passed by all that serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

# Waits until the node of this name may be served; whether it had to wait, so that its proof must be looked at again.
Admission: TypeAlias = Callable[[str], Awaitable[bool]]


class Gate:
    """Open until somebody keeps it."""

    def __init__(self) -> None:
        self.keeper: Admission | None = None
        self.free: frozenset[str] = frozenset()
        """Services that are served without waiting: those that the keeper itself waits for."""
        self.patient: frozenset[str] = frozenset()
        """Services whose callers are told, by empty parts, that this node lives while they wait."""

    async def passed(self, caller: str, service: str = "") -> bool:
        """Wait until a node may be served; whether that took any time."""
        if self.keeper is None or service in self.free:
            return False
        return await self.keeper(caller)
