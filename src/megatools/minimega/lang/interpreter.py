"""The interpreter: a line of text in, rendered response groups out.

One per daemon, shared by the prompt, the command socket and scripts; commands of different clients run concurrently::

    line -> alias -> lexer -> matcher -> preprocess -> handler -> groups -> rendering
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import AsyncIterator, Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from megatools.hostkit.errors import MegaError, user_text
from megatools.minimega.lang.aliases import Aliases
from megatools.minimega.lang.answer import Answer, Group, Response, Table, response_of
from megatools.minimega.lang.call import Call, Invocation, Reply, Session, Suggester
from megatools.minimega.lang.complete import expected, finished, paths
from megatools.minimega.lang.fetch import Fetcher, LocalFetcher
from megatools.minimega.lang.help import help_text
from megatools.minimega.lang.history import History
from megatools.minimega.lang.lexer import lex, lex_unfinished
from megatools.minimega.lang.options import Options, Scope
from megatools.minimega.lang.pattern import parameter
from megatools.minimega.lang.preprocess import preprocess_arguments, preprocess_text
from megatools.minimega.lang.registry import Registry
from megatools.minimega.lang.render import render

S = TypeVar("S")
_log = logging.getLogger(__name__)


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
        self.registry = registry
        self.history = History()
        self.aliases = Aliases()
        self.options = Options()
        self.environment: MutableMapping[str, str] = os.environ if environment is None else environment
        self._services = services
        self._host = host
        self._files = files
        self._suggesters = dict(suggesters or {})
        self._fetcher = fetcher or LocalFetcher(files or Path.cwd())

    @property
    def host(self) -> str:
        """The name of this host."""
        return self._host

    def compile(self, line: str) -> Invocation | None:
        """The command of a line, or None for a blank line or a comment; raises `InvalidInput`."""
        words = lex(line)
        return self.registry.match(words, line) if words else None

    def help(self, words: tuple[str, ...]) -> str:
        """The text of `help words...`; raises `NotFound`."""
        return help_text(self.registry.commands(), words)

    async def preprocess(self, text: str, environment: Mapping[str, str] | None = None) -> str:
        """A value with `$VAR` expanded, from the daemon's environment unless another is given, and prefixes fetched."""
        return await preprocess_text(text, self.environment if environment is None else environment, self._fetcher)

    def recognise(self, words: Sequence[str]) -> Invocation:
        """The command of words that were lexed already; raises `InvalidInput`."""
        return self.registry.match(words)

    async def execute(self, line: str, session: Session) -> AsyncIterator[Output]:
        """Run one line; blank lines and comments yield nothing, an invalid command yields one error response."""
        try:
            invocation = self.compile(self._expanded(line, session))
        except MegaError as error:
            yield Output([Response(self._host, error=user_text(error))], "")
            return
        if invocation is None:
            if line.strip() and session.source != "internal":
                self.history.record(line.strip())
            return
        call = self.call(line.strip(), session)
        async for group in self.perform(call, invocation):
            yield Output(group, render(group, call.scope.options))

    async def perform(self, call: Call[S], invocation: Invocation) -> AsyncIterator[Group]:
        """Run a compiled command and record its line in the history, unless it or its session says no."""
        async for group in self.run(call, invocation):
            yield group
        if call.session.source == "internal" or not self.options.record or not call.scope.options.record:
            return
        if all(self.registry.command(part).record for part in _chain(invocation)):
            self.history.record(call.text)

    async def run(self, call: Call[S], invocation: Invocation) -> AsyncIterator[Group]:
        """Run a compiled command; its errors come as error responses, never raised."""
        try:
            reply = await self._reply(call, invocation)
            if isinstance(reply, AsyncIterator):
                async for group in reply:
                    yield group
                return
            group = self._group(reply)
        except MegaError as error:
            group = [Response(self._host, error=user_text(error))]
        except Exception as error:  # noqa: BLE001 the command boundary (R5): a bug keeps its traceback, the user gets one line
            _log.exception("command `%s` failed", invocation.text)
            group = [Response(self._host, error=f"internal error: {type(error).__name__}: {error}; see the log")]
        yield group

    async def _reply(self, call: Call[S], invocation: Invocation) -> Reply:
        command = self.registry.command(invocation)
        session = call.session
        if session.limits is not None:
            session.limits.check_namespace(call.namespace)
            session.limits.check_command(invocation, command.effect(invocation.pattern))
        arguments = dict(invocation.arguments)
        if command.preprocess and call.scope.options.preprocess:
            environment = self.environment if session.environment is None else session.environment
            arguments = await preprocess_arguments(arguments, environment, self._fetcher)
        named = {**command.absent, **{parameter(key): value for key, value in arguments.items()}}
        reply = command.handler(call, **named)
        return await reply if inspect.isawaitable(reply) else reply

    def _group(self, reply: str | Table | Answer | Group | None) -> Group:
        match reply:
            case None:
                return [Response(self._host)]
            case str():
                return [Response(self._host, reply)]
            case Table():
                return [response_of(self._host, Answer(table=reply))]
            case Answer():
                return [response_of(self._host, reply)]
            case _:
                return reply

    def _expanded(self, line: str, session: Session) -> str:
        return self.aliases.expand(line) if session.source in ("prompt", "socket") else line

    def call(self, text: str, session: Session) -> Call[S]:
        """A call for a command that begins in a session."""
        return Call(self._services, session.namespace, session, text, self, self._host, Scope(self.options))

    async def suggest(self, line: str, session: Session) -> list[str]:
        """Completions of the last word of an unfinished line, each a whole word; most end in a space."""
        first, *more = line.split(maxsplit=1) or [""]
        unfinished = lex_unfinished(self._expanded(line, session) if more or line.endswith(" ") else first)
        if unfinished is None:
            return []
        words, last = unfinished.words, unfinished.last
        here = expected(self.registry.trie, words, last)
        candidates = list(here.words)
        if not words:
            candidates += [name for name, _ in self.aliases.rows() if name.startswith(last)]
        if here.arguments:
            candidates += await self._names(here.arguments, last, self.call(line, session))
            candidates += self._values(last, not candidates)
        return finished(candidates)

    async def _names(self, arguments: Iterable[tuple[str, int]], last: str, call: Call[S]) -> list[str]:
        """What the sources of the arguments that may stand here offer."""
        sources = {self.registry.owner(number).suggest.get(key) for key, number in arguments}
        found: list[str] = []
        for source in sorted(source for source in sources if source in self._suggesters):
            offered = self._suggesters[source](call, last)
            names = await offered if inspect.isawaitable(offered) else offered
            found.extend(name for name in names if name.startswith(last))
        return sorted(found)

    def _values(self, last: str, nothing_else: bool) -> list[str]:
        """Variables, files of the file directory and local paths."""
        if last.startswith("$"):
            return sorted(f"${name}" for name in self.environment if name.startswith(last[1:]))
        if last.startswith("file:"):
            return [f"file:{path}" for path in paths(last.removeprefix("file:").lstrip("/"), self._files)]
        if nothing_else or last[:1] in ("/", "."):
            return paths(last, self._files)
        return []


def _chain(invocation: Invocation) -> Iterable[Invocation]:
    """The command and those nested in it, outermost first."""
    inner: Invocation | None = invocation
    while inner is not None:
        yield inner
        inner = inner.nested
