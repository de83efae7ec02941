"""What is asked of hosts, and what comes back: typed, serialisable, already expanded.

Commands make a `Request`; a feature's handler runs it on each host; exactly one `HostResult` per host comes back.
Features subclass `Operation` beside their own code and register a handler in `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Any, ClassVar, TypeAlias

import msgspec

from megatools.minimega.lang.answer import Answer


class Reach(Enum):
    """Which hosts an operation goes to when its request names none."""

    NAMESPACE = auto()  # the hosts of the namespace
    VM = auto()  # the same, for the VMs of a target: a host that has none of them does not count
    LOCAL = auto()  # the host where it was asked
    NAMESPACE_AND_LOCAL = auto()  # the hosts of the namespace, and the one where it was asked
    EVERYWHERE = auto()  # every node of the mesh


class Operation(msgspec.Struct, frozen=True, tag=True):
    """Something one host can be asked to do within a namespace; values only, no text to parse.

    `reads` says that it changes nothing: nodes that may only read may ask for it.
    """

    reach: ClassVar[Reach] = Reach.NAMESPACE
    reads: ClassVar[bool] = False


class Request(msgspec.Struct, frozen=True):
    """An operation for the hosts named; no hosts means those within the operation's reach."""

    namespace: str
    operation: Operation
    hosts: tuple[str, ...] = ()


class Outcome(StrEnum):
    """How a request ended on one host; every host ends in exactly one of these."""

    DONE = "done"
    ERROR = "error"
    LOST = "lost"
    TIMED_OUT = "timed out"


class HostResult(msgspec.Struct, frozen=True):
    """The end of a request on one host: an answer when done, else what went wrong.

    `kind` is the name of the error's class, empty when the host was lost or timed out; `missing` are the words of a VM
    target that name nothing on this host (also in the answer, when there is one).
    """

    host: str
    outcome: Outcome
    answer: Answer | None = None
    error: str = ""
    hint: str = ""
    kind: str = ""
    missing: tuple[str, ...] = ()

    @property
    def error_text(self) -> str:
        """The error as a user is shown it, with its hint; empty when done."""
        return f"{self.error}\nhint: {self.hint}" if self.hint else self.error


# An operation's handler; which operation type it takes is the key it is registered under.
Handler: TypeAlias = Callable[[str, Any], Awaitable[Answer]]
Handlers: TypeAlias = Mapping[type[Operation], Handler]
