"""The command registry: families declare commands, the registry holds them all and refuses contradictions.

A family file says, at import::

    family: Family[Services] = Family("vm", "Virtual machines")

    @family.command("vm start <vm target>", suggest={"vm": "vm"})
    async def vm_start(call: Call[Services], vm: str) -> Reply:
        \"\"\"Start virtual machines.   <- short help

        The long help follows.\"\"\"

Parameters are matched by key (`-` becomes `_`, see `pattern.parameter`); what a pattern does not hold needs a
default. Name, arity, annotations and docstring are checked here, when the file is imported (R3).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

from megatools.minimega.lang.answer import Group
from megatools.minimega.lang.api import describe, manual
from megatools.minimega.lang.call import Argument, Call, Invocation, Reply
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.match import MAX_NESTING, InvalidCommand, match
from megatools.minimega.lang.near import hint_for
from megatools.minimega.lang.pattern import Pattern, parse_pattern
from megatools.minimega.lang.quote import join_words
from megatools.minimega.lang.signature import BadHandler, check_handler
from megatools.minimega.lang.trie import Trie

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R", bound=Awaitable[Reply] | AsyncIterator[Group])

CommandHandler: TypeAlias = Callable[Concatenate[Call[S], ...], Awaitable[Reply] | AsyncIterator[Group]]

_MOST_REMEMBERED, _LONGEST_REMEMBERED = 512, 256


@dataclass(frozen=True, slots=True)
class Command(Generic[S]):
    """One command: the patterns it answers to, its handler, its help and how it runs.

    `exact`: its literals and choices must be typed in full (the classic words). `record`: it enters the history.
    `preprocess`: its arguments are preprocessed. `suggest`: completion source by argument key. `effects`: what it
    changes besides its operations, for all its patterns or by pattern.
    `absent`: what parameters without a default get when a line leaves them out.
    """

    family: str
    patterns: tuple[Pattern, ...]
    handler: CommandHandler[S]
    short: str
    long: str
    record: bool
    preprocess: bool
    exact: bool
    suggest: Mapping[str, str]
    absent: Mapping[str, Argument | None]
    effects: Effect | Mapping[str, Effect]

    def effect(self, pattern: str) -> Effect:
        """What it changes, besides its operations, when it is called by this pattern."""
        if isinstance(self.effects, Effect):
            return self.effects
        return self.effects.get(pattern, Effect.HOST)

    @property
    def prefix(self) -> str:
        """The literals all its patterns begin with."""
        first, *others = (pattern.prefix for pattern in self.patterns)
        length = len(first)
        for prefix in others:
            length = next(
                (i for i in range(min(length, len(prefix))) if prefix[i] != first[i]), min(length, len(prefix))
            )
        return " ".join(first[:length])


class Family(Generic[S]):
    """One family of commands, usually one file; `title` heads its part of the manual."""

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self.commands: list[Command[S]] = []

    def command(
        self,
        *patterns: str,
        record: bool = True,
        preprocess: bool = True,
        exact: bool = False,
        suggest: Mapping[str, str] | None = None,
        effect: Effect | Mapping[str, Effect] = Effect.HOST,
    ) -> Callable[[Callable[Concatenate[Call[S], P], R]], Callable[Concatenate[Call[S], P], R]]:
        """Declare the function below as a command; raises `BadPattern` or `BadHandler` at import."""

        def declare(handler: Callable[Concatenate[Call[S], P], R]) -> Callable[Concatenate[Call[S], P], R]:
            short, _, long = inspect.cleandoc(handler.__doc__ or "").partition("\n")
            self.add(
                patterns,
                handler,
                short,
                long.strip(),
                record=record,
                preprocess=preprocess,
                exact=exact,
                suggest=suggest,
                effect=effect,
            )
            return handler

        return declare

    def add(
        self,
        patterns: Sequence[str],
        handler: CommandHandler[S],
        short: str,
        long: str = "",
        *,
        record: bool = True,
        preprocess: bool = True,
        exact: bool = False,
        suggest: Mapping[str, str] | None = None,
        effect: Effect | Mapping[str, Effect] = Effect.HOST,
    ) -> None:
        """Declare a generated command; its handler may take `**arguments`. Raises `BadPattern` or `BadHandler`."""
        parsed = tuple(parse_pattern(pattern) for pattern in patterns)
        if not parsed:
            raise BadHandler(f"a command of family '{self.name}' has no pattern")
        if not short.strip():
            raise BadHandler(f"command '{parsed[0]}' has no help")
        if not isinstance(effect, Effect) and not effect.keys() <= set(patterns):
            raise BadHandler(f"command '{parsed[0]}' tells the effect of a pattern it does not have")
        self.commands.append(
            Command(
                family=self.name,
                patterns=parsed,
                handler=handler,
                short=short.strip().rstrip("."),
                long=long,
                record=record,
                preprocess=preprocess,
                exact=exact,
                suggest=dict(suggest or {}),
                absent=check_handler(handler, parsed),
                effects=effect,
            )
        )


class Registry(Generic[S]):
    """All commands of a program; raises `BadPattern` when two contradict each other."""

    def __init__(self, families: Iterable[Family[S]]) -> None:
        self._families = tuple(families)
        self._commands = tuple(command for family in self._families for command in family.commands)
        self._owners: list[Command[S]] = []
        self._recent: dict[tuple[str, ...], Invocation] = {}
        self._trie = Trie()
        for group, command in enumerate(self._commands):
            for pattern in command.patterns:
                self._trie.add(pattern, len(self._owners), group, exact=command.exact)
                self._owners.append(command)
        self._trie.validate()

    @property
    def trie(self) -> Trie:
        """The patterns as a tree, for the matcher and completion."""
        return self._trie

    def families(self) -> tuple[Family[S], ...]:
        """The families, in the order of the manual."""
        return self._families

    def commands(self) -> tuple[Command[S], ...]:
        """All commands, in order of declaration."""
        return self._commands

    def command(self, invocation: Invocation) -> Command[S]:
        """The command an invocation belongs to."""
        return self._owners[invocation.number]

    def owner(self, number: int) -> Command[S]:
        """The command of a pattern, by the pattern's number."""
        return self._owners[number]

    def match(self, words: Sequence[str], text: str | None = None) -> Invocation:
        """The command these words mean; raises `InvalidCommand` naming the text, with the nearest command as hint."""
        known = tuple(words)
        found = self._recent.get(known) or match(self._trie, words)
        if isinstance(found, Invocation):
            self._remember(known, found)
            return found
        if found.too_deep:
            raise InvalidCommand(f"commands are nested too deep, the limit is {MAX_NESTING}")
        hint = hint_for(self._trie.patterns, words, found.ambiguous)
        shown = join_words(words) if text is None else text.strip()
        raise InvalidCommand(f"invalid command: `{shown}`", hint=hint)

    def _remember(self, words: tuple[str, ...], found: Invocation) -> None:
        """Most lines come again and again, from scripts, from pages that look, from other nodes."""
        if words not in self._recent and len(words) + sum(map(len, words)) <= _LONGEST_REMEMBERED:
            if len(self._recent) >= _MOST_REMEMBERED:
                self._recent.clear()
            self._recent[words] = found

    def api(self) -> bytes:
        """The API as a JSON array (`-cli`; spec B.1)."""
        return describe(self._commands)

    def manual(self) -> str:
        """The commands as markdown, one chapter per family (`-doc`)."""
        return manual([(family.title, family.commands) for family in self._families])
