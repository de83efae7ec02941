"""What is asked of hosts, and what comes back: typed, serialisable, already expanded.

Commands make a `Request`; a feature's handler runs it on each host; exactly one `HostResult` per host comes back.
Features subclass `Operation` beside their own code and register a handler in `app`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec

from megatools.minimega.lang.answer import Answer


class Operation(msgspec.Struct, frozen=True, tag=True):
    """Something one host can be asked to do within a namespace; values only, no text to parse."""


class Request(msgspec.Struct, frozen=True):
    """An operation for the hosts named; no hosts means every host of the namespace."""

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
    """The end of a request on one host: an answer when done, else what went wrong."""

    host: str
    outcome: Outcome
    answer: Answer | None = None
    error: str = ""


# An operation's handler; which operation type it takes is the key it is registered under.
Handler: TypeAlias = Callable[[str, Any], Awaitable[Answer]]
Handlers: TypeAlias = Mapping[type[Operation], Handler]
