"""What a command handler is given: the call, the session it came from, and commands nested in it.

Imported by every command family; knows no feature.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from megatools.minimega.lang.aliases import Aliases
from megatools.minimega.lang.answer import Answer, Group, Table
from megatools.minimega.lang.history import History
from megatools.minimega.lang.limits import Limits
from megatools.minimega.lang.options import Options, Scope
from megatools.minimega.lang.quote import join_words

S = TypeVar("S")
Source: TypeAlias = Literal["prompt", "socket", "script", "internal", "mesh"]
DEFAULT_NAMESPACE = "minimega"


@dataclass(slots=True)
class ActiveNamespace:
    """The daemon-wide last choice of namespace: where new connections and prompts start."""

    name: str = DEFAULT_NAMESPACE


def _ignore(_text: str) -> None:
    """Progress nobody asked for."""


@dataclass(slots=True)
class Session:
    """One connection, prompt, script, or command that another node sent (`mesh`).

    `namespace` is where it stands, `source` where its lines come from, `status` where its progress goes. A sent command
    has its sender's `limits`, and the `environment` of the sender, the daemon's when it is None.
    """

    namespace: str = DEFAULT_NAMESPACE
    source: Source = "internal"
    status: Callable[[str], None] = _ignore
    limits: Limits | None = None
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Invocation:
    """A compiled command, not yet run: the pattern it matched, its arguments by key, and its words.

    `number` is the registry's number of the pattern. Handlers receive one for `(command)` and pass it to `Call.run`.
    """

    number: int
    pattern: str
    words: tuple[str, ...]
    arguments: Mapping[str, Argument]

    @property
    def text(self) -> str:
        """The command as one line that lexes to the same words."""
        return join_words(self.words)

    @property
    def nested(self) -> Invocation | None:
        """The command nested in this one, if any."""
        for value in self.arguments.values():
            if isinstance(value, Invocation):
                return value
        return None


Argument: TypeAlias = str | bool | tuple[str, ...] | Invocation
Reply: TypeAlias = str | Table | Answer | Group | AsyncIterator[Group] | None


class Engine(Protocol[S]):
    """The interpreter, as handlers may use it."""

    @property
    def history(self) -> History:
        """The lines recorded so far."""
        ...

    @property
    def aliases(self) -> Aliases:
        """The aliases defined so far."""
        ...

    @property
    def environment(self) -> MutableMapping[str, str]:
        """The variables `$NAME` expands to."""
        ...

    @property
    def options(self) -> Options:
        """The global values of the modifiers."""
        ...

    @options.setter
    def options(self, value: Options) -> None: ...

    def compile(self, line: str) -> Invocation | None:
        """The command of a line, or None for a blank line or a comment; raises `InvalidInput`."""
        ...

    def help(self, words: tuple[str, ...]) -> str:
        """The text of `help words...`; raises `NotFound`."""
        ...

    async def preprocess(self, text: str, environment: Mapping[str, str] | None = None) -> str:
        """A value with `$VAR` expanded and `file:`, `http:`, `https:`, `tar:` turned into local paths."""
        ...

    def recognise(self, words: Sequence[str]) -> Invocation:
        """The command of words that were lexed already; raises `InvalidInput`."""
        ...

    def call(self, text: str, session: Session) -> Call[S]:
        """A call for a command that begins in a session."""
        ...

    def run(self, call: Call[S], invocation: Invocation) -> AsyncIterator[Group]:
        """Run a compiled command; its errors come as error responses, never raised."""
        ...

    def perform(self, call: Call[S], invocation: Invocation) -> AsyncIterator[Group]:
        """Run a compiled command and record its line in the history, unless it or its session says no."""
        ...


@dataclass(frozen=True, slots=True)
class Call(Generic[S]):
    """One command while it runs.

    `text` is the line as typed, `namespace` where the command applies (never read it from the session), `host` the
    name of this host.
    """

    services: S
    namespace: str
    session: Session
    text: str
    interpreter: Engine[S]
    host: str
    scope: Scope = field(default_factory=lambda: Scope(Options()))

    def run(self, invocation: Invocation, *, namespace: str | None = None) -> AsyncIterator[Group]:
        """Run a nested command, here or in another namespace; its errors come as error responses."""
        return self.interpreter.run(self._within(namespace, invocation.text), invocation)

    async def run_line(self, line: str, *, namespace: str | None = None) -> AsyncIterator[Group]:
        """Run a command given as text (for translations); nothing is recorded. Raises `InvalidInput`."""
        invocation = self.interpreter.compile(line)
        if invocation is not None:
            async for group in self.interpreter.run(self._within(namespace, line), invocation):
                yield group

    async def preprocess(self, text: str) -> str:
        """Expand `$VAR` and file prefixes in part of an argument (for commands registered with `preprocess=False`)."""
        if not self.scope.options.preprocess:
            return text
        return await self.interpreter.preprocess(text, self.session.environment)

    def status(self, text: str) -> None:
        """Tell the client that waits how far this command is."""
        self.session.status(text)

    def _within(self, namespace: str | None, text: str) -> Call[S]:
        return Call(
            services=self.services,
            namespace=self.namespace if namespace is None else namespace,
            session=self.session,
            text=text,
            interpreter=self.interpreter,
            host=self.host,
            scope=self.scope,
        )


# Completion of one kind of argument: candidates that begin with the prefix typed so far.
Suggester: TypeAlias = Callable[[Call[S], str], list[str] | Awaitable[list[str]]]
