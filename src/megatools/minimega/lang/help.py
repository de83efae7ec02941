"""`help`: the list of all commands, and the text for some words. Pure. Source: spec B.8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from megatools.hostkit.errors import NotFound
from megatools.minimega.lang.pattern import Item, Kind, Pattern

_INTRODUCTION = "Display help on a command. Here is a list of commands:"
_WIDEST = 60


class Helpful(Protocol):
    """A command, as far as help needs it."""

    @property
    def patterns(self) -> tuple[Pattern, ...]: ...  # noqa: D102
    @property
    def short(self) -> str: ...  # noqa: D102
    @property
    def long(self) -> str: ...  # noqa: D102


def help_text(commands: Sequence[Helpful], words: tuple[str, ...]) -> str:
    """The text of `help words...`; raises `NotFound`."""
    if not words:
        return f"{_INTRODUCTION}\n{_listed(commands)}"
    chosen = [command for command in commands if any(_fits(pattern, words, True) for pattern in command.patterns)]
    if not chosen:
        chosen = [command for command in commands if any(_fits(pattern, words, False) for pattern in command.patterns)]
    if not chosen:
        raise NotFound(f"no help entry for `{' '.join(words)}`", hint="`help` lists the commands")
    if len(chosen) == 1:
        return _entry(chosen[0].patterns, chosen[0])
    explained = [command for command in chosen if command.long]
    if len(explained) == 1:
        return _entry([pattern for command in chosen for pattern in command.patterns], explained[0])
    return _listed(chosen)


def _entry(patterns: Sequence[Pattern], command: Helpful) -> str:
    usage = "\n".join(f"\t{pattern}" for pattern in patterns)
    return f"Usage:\n{usage}\n\n{command.long or command.short}"


def _listed(commands: Sequence[Helpful]) -> str:
    lines = sorted((str(pattern), command.short) for command in commands for pattern in command.patterns)
    width = min(_WIDEST, max((len(pattern) for pattern, _ in lines), default=0))
    return "\n".join(f"{pattern:<{width}} : {short}" for pattern, short in lines)


def _fits(pattern: Pattern, words: tuple[str, ...], exact: bool) -> bool:
    """Whether the words begin this pattern, with its literals and choices in full or abbreviated."""
    for index, word in enumerate(words):
        if index >= len(pattern.items):
            return False
        item = pattern.items[index]
        if item.kind & (Kind.LIST | Kind.COMMAND):
            return True
        if not _accepts(item, word, exact):
            return False
    return True


def _accepts(item: Item, word: str, exact: bool) -> bool:
    if item.kind & Kind.STRING:
        return True
    return word in item.words if exact else any(option.startswith(word) for option in item.words)
