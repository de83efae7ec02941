"""The interpreter: a line of text in, rendered response groups out.

One per daemon, shared by the prompt, the command socket and scripts; commands of different clients run concurrently::

    line -> alias -> lexer -> matcher -> preprocess -> handler -> groups -> rendering
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, MutableMapping
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from megatools.minimega.lang.answer import Group
from megatools.minimega.lang.call import Call, Invocation, Session, Suggester
from megatools.minimega.lang.fetch import Fetcher
from megatools.minimega.lang.registry import Registry

S = TypeVar("S")


class Output(msgspec.Struct, frozen=True):
    """One response group, and its text for people (errors are not in it: `render.error_lines` makes those)."""

    group: Group | None
    rendered: str


class Interpreter(Generic[S]):
    """Runs command lines. `files` is the file directory that `file:` names and completion refer to."""

    def __init__(
        self,
        registry: Registry[S],
        services: S,
        *,
        host: str,
        files: Path | None = None,
        suggesters: Mapping[str, Suggester[S]] | None = None,
        fetcher: Fetcher | None = None,
        environment: MutableMapping[str, str] | None = None,
    ) -> None:
        raise NotImplementedError

    def execute(self, line: str, session: Session) -> AsyncIterator[Output]:
        """Run one line; blank lines and comments yield nothing, an invalid command yields one error response."""
        raise NotImplementedError

    async def suggest(self, line: str, session: Session) -> list[str]:
        """Completions of the last word of an unfinished line, each a whole word, most with a trailing space."""
        raise NotImplementedError

    def run(self, call: Call[S], invocation: Invocation) -> AsyncIterator[Group]:
        """Run a compiled command (for `Call.run`)."""
        raise NotImplementedError
