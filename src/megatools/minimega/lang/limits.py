"""What another node may ask of this one: pure. Made by `cluster` from the caller's certificate, checked where it acts.

A node may be limited to reading, to one namespace, or both. Operations are checked one by one; a command may be run
when what it does besides operations (`Effect`) is within the limits.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

import msgspec

from megatools.hostkit.errors import PermissionDenied
from megatools.minimega.lang.operation import Operation, Reach


class Effect(Enum):
    """What a command changes besides what its operations do."""

    NONE = auto()
    NAMESPACE = auto()  # the state of its namespace
    HOST = auto()  # anything on this host


class Worded(Protocol):
    """A command, as far as an error names it."""

    @property
    def text(self) -> str:
        """Its words as one line."""
        ...


class Limits(msgspec.Struct, frozen=True):
    """What the node `who` may do: only read, only act within one namespace (empty: any)."""

    who: str
    reads_only: bool = False
    namespace: str = ""

    def check_namespace(self, namespace: str) -> None:
        """Raise PermissionDenied unless it may act in this namespace."""
        if self.namespace and namespace != self.namespace:
            raise PermissionDenied(
                f'node "{self.who}" may not act in namespace "{namespace}"',
                hint=f'its certificate is for namespace "{self.namespace}"',
            )

    def check_operation(self, namespace: str, operation: Operation) -> None:
        """Raise PermissionDenied unless it may ask for this operation in this namespace."""
        self.check_namespace(namespace)
        kind = type(operation)
        if self.reads_only and not kind.reads:
            raise PermissionDenied(f'node "{self.who}" may only read', hint=f"{kind.__name__} changes something")
        if self.namespace and kind.reach in (Reach.LOCAL, Reach.EVERYWHERE):
            raise PermissionDenied(
                f'node "{self.who}" may only act within namespace "{self.namespace}"',
                hint=f"{kind.__name__} concerns the whole host",
            )

    def check_command(self, command: Worded, effect: Effect) -> None:
        """Raise PermissionDenied unless it may run a command with this effect; the command's operations come later."""
        if self.reads_only and effect is not Effect.NONE:
            raise PermissionDenied(f'node "{self.who}" may only read', hint=f"`{command.text}` may change something")
        if self.namespace and effect is Effect.HOST:
            raise PermissionDenied(
                f'node "{self.who}" may only act within namespace "{self.namespace}"',
                hint=f"`{command.text}` may concern the whole host",
            )
