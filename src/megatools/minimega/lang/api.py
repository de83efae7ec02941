"""The API as JSON, as `minimega -cli` prints it, and as a manual in markdown (`-doc`). Source: spec B.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from megatools.minimega.lang.pattern import Pattern


class Described(Protocol):
    """A command, as far as a description needs it."""

    @property
    def patterns(self) -> tuple[Pattern, ...]: ...  # noqa: D102
    @property
    def short(self) -> str: ...  # noqa: D102
    @property
    def long(self) -> str: ...  # noqa: D102
    @property
    def prefix(self) -> str: ...  # noqa: D102


class ItemDescription(msgspec.Struct, frozen=True):
    """One item of a pattern; `type` is a bit set, see `pattern.Kind`."""

    type: int
    key: str
    text: str
    options: list[str]


class CommandDescription(msgspec.Struct, frozen=True):
    """One command."""

    help_short: str
    help_long: str
    patterns: list[str]
    shared_prefix: str
    parsed_patterns: list[list[ItemDescription]]


def descriptions(commands: Sequence[Described]) -> list[CommandDescription]:
    """The records that `-cli` prints."""
    return [
        CommandDescription(
            command.short,
            command.long,
            [pattern.text for pattern in command.patterns],
            command.prefix,
            [
                [ItemDescription(int(item.kind), item.key, item.text, list(item.options)) for item in pattern.items]
                for pattern in command.patterns
            ],
        )
        for command in commands
    ]


def describe(commands: Sequence[Described]) -> bytes:
    """A JSON array with one object per command."""
    return msgspec.json.encode(descriptions(commands))


def manual(chapters: Sequence[tuple[str, Sequence[Described]]]) -> str:
    """The commands as markdown, one chapter per family."""
    parts = ["# minimega commands\n"]
    for title, commands in chapters:
        parts.append(f"## {title}\n")
        for command in commands:
            usage = "\n".join(str(pattern) for pattern in command.patterns)
            parts.append(f"### {command.prefix or command.patterns[0]}\n\n{command.short}.\n\n```\n{usage}\n```\n")
            if command.long:
                parts.append(f"{command.long}\n")
    return "\n".join(parts)
