"""What a request of another node waits for before it is served: set by `mesh.revocation`, passed by all that serve."""

from __future__ import annotations

from typing import Protocol


class Keeper(Protocol):
    """Says who may be served."""

    def admits(self, caller: str) -> bool:
        """Whether the node of this name may be served now."""
        ...

    async def admitted(self, caller: str) -> bool:
        """Wait until it may be; whether it had to wait, so that its proof must be looked at again."""
        ...


class Gate:
    """Open until somebody keeps it."""

    def __init__(self) -> None:
        self.keeper: Keeper | None = None
        self.free: frozenset[str] = frozenset()
        """Services that are served without waiting: those that the keeper itself waits for."""
        self.patient: frozenset[str] = frozenset()
        """Services whose callers are told, by empty parts, that this node lives while they wait."""

    def is_open(self, caller: str, service: str = "") -> bool:
        """Whether a node may be served now."""
        return self.keeper is None or service in self.free or self.keeper.admits(caller)

    async def passed(self, caller: str, service: str = "") -> bool:
        """Wait until a node may be served; whether that took any time."""
        if self.keeper is None or service in self.free:
            return False
        return await self.keeper.admitted(caller)
