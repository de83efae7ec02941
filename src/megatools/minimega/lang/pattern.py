"""The grammar of command patterns: `vm launch kvm <name or count> [config]` becomes a row of items.

Used by the registry, the matcher, help and the API description; features only write pattern texts.
Source: spec B.1.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from enum import IntFlag

from megatools.hostkit.errors import InvalidInput


class BadPattern(InvalidInput):
    """A pattern text breaks the grammar of patterns: a mistake in the program, found when it is imported."""


class Kind(IntFlag):
    """What an item takes; the numbers are those of the API description (`-cli`)."""

    OPTIONAL = 1
    LITERAL = 2
    COMMAND = 4
    STRING = 8
    CHOICE = 16
    LIST = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One element of a pattern; `key` names a string, list or command, `text` is the literal or the free text."""

    kind: Kind
    key: str = ""
    text: str = ""
    options: tuple[str, ...] = ()

    @property
    def optional(self) -> bool:
        """Whether a command is complete without it."""
        return bool(self.kind & Kind.OPTIONAL)

    @property
    def words(self) -> tuple[str, ...]:
        """The words a literal or a choice accepts; empty for the others."""
        return (self.text,) if self.kind & Kind.LITERAL else self.options

    def __str__(self) -> str:
        """As help prints it: a choice of one option is bare."""
        if self.kind & Kind.LITERAL:
            return self.text
        if self.kind & Kind.COMMAND:
            return f"({self.key})"
        if self.kind == Kind.CHOICE and len(self.options) == 1:
            return self.options[0]
        inner = ",".join(self.options) if self.kind & Kind.CHOICE else self.text
        dots = "..." if self.kind & Kind.LIST else ""
        return f"[{inner}]{dots}" if self.optional else f"<{inner}>{dots}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as written, and its items."""

    text: str
    items: tuple[Item, ...]

    def __str__(self) -> str:
        """As help prints it."""
        return " ".join(str(item) for item in self.items)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The literals it begins with."""
        words: list[str] = []
        for item in self.items:
            if not item.kind & Kind.LITERAL:
                break
            words.append(item.text)
        return tuple(words)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of what it parses: strings, lists, commands, and every option of its choices."""
        keys: list[str] = []
        for item in self.items:
            if item.kind & Kind.CHOICE:
                keys.extend(item.options)
            elif not item.kind & Kind.LITERAL:
                keys.append(item.key)
        return tuple(keys)


_ITEM = re.compile(r"\s*(?:<([^<>\[\]()]*)>|\[([^<>\[\]()]*)\]|\(([^<>\[\]()]*)\)|([^\s<>\[\]()]+))(\.{3})?(?=\s|$)")
_QUOTES = re.compile(r"[\"'`\\]")


def parse_pattern(text: str) -> Pattern:
    """The items of a pattern text; raises `BadPattern`."""
    if _QUOTES.search(text):
        raise BadPattern(f"pattern '{text}' holds a quote or a backslash")
    items: list[Item] = []
    position = 0
    stripped = text.strip()
    while position < len(stripped):
        match = _ITEM.match(stripped, position)
        if match is None:
            raise BadPattern(f"pattern '{text}' is malformed at '{stripped[position:].strip()}'")
        position = match.end()
        if items and items[-1].kind & (Kind.OPTIONAL | Kind.LIST | Kind.COMMAND):
            raise BadPattern(f"pattern '{text}' goes on after '{items[-1]}', which must come last")
        items.append(_item(match, text))
    if not items:
        raise BadPattern("a pattern needs at least one item")
    pattern = Pattern(stripped, tuple(items))
    if len(set(pattern.keys)) != len(pattern.keys):
        raise BadPattern(f"pattern '{text}' uses a key twice")
    return pattern


def _item(match: re.Match[str], text: str) -> Item:
    required, optional, command, literal, dots = match.groups()
    if literal is not None:
        if dots or literal.endswith("."):
            raise BadPattern(f"pattern '{text}' repeats a literal")
        return Item(Kind.LITERAL, text=literal)
    inner = (required if required is not None else optional if optional is not None else command).strip()
    if not inner:
        raise BadPattern(f"pattern '{text}' holds an empty item")
    if command is not None:
        if dots or " " in inner:
            raise BadPattern(f"pattern '{text}' has a malformed nested command")
        return Item(Kind.COMMAND, key=inner, text=inner)
    kind = Kind.OPTIONAL if optional is not None else Kind(0)
    if "," not in inner:
        return Item(kind | (Kind.LIST if dots else Kind.STRING), key=inner.split()[0], text=inner)
    options = tuple(option for option in inner.split(",") if option)
    if dots or " " in inner or not options:
        raise BadPattern(f"pattern '{text}' has a malformed choice '{inner}'")
    return Item(kind | Kind.CHOICE, options=options)


def parameter(key: str) -> str:
    """The Python parameter for a key: `qemu-append` is `qemu_append`, `from` is `from_`, `1.1` is `_1_1`."""
    name = re.sub(r"\W", "_", key)
    if not name.isidentifier():
        return f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name
