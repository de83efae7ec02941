"""Makes a Python module that drives minimega from the commands' own description (spec C.3).

::

    minimega -cli | python -m megatools.minimega.app.binding > minimega.py

    import minimega
    mm = minimega.connect()
    mm.vm_launch_kvm("2")
    minimega.print_rows(mm.vm_info())

The module needs the standard library only. It has one method per run of literals a pattern begins with; a method takes
the words that follow, strings or numbers, lists spread out, and returns the response groups of the command.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Sequence
from importlib.resources import files

import msgspec

from megatools.hostkit.errors import InvalidInput

_LITERAL = 2
_CHOICE = 16
_TAKEN = frozenset(("close", "command", "namespace", "stream", "suggest"))


class Item(msgspec.Struct, frozen=True):
    """One item of a pattern, as `-cli` prints it."""

    type: int
    key: str = ""
    text: str = ""
    options: list[str] = []


class Command(msgspec.Struct, frozen=True):
    """One command, as `-cli` prints it."""

    help_short: str
    help_long: str
    patterns: list[str]
    parsed_patterns: list[list[Item]]


class Method(msgspec.Struct, frozen=True):
    """A method to write: its name, the words it sends first, and the patterns and help it stands for."""

    name: str
    words: tuple[str, ...]
    patterns: tuple[str, ...]
    help: str


def decode(description: bytes) -> list[Command]:
    """The commands of a `-cli` description. Raises InvalidInput."""
    try:
        return msgspec.json.decode(description, type=list[Command])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("this is no description of commands", hint="minimega -cli prints one") from error


def methods(commands: Sequence[Command]) -> list[Method]:
    """One method per run of literals; patterns that begin alike share it. Sorted by name."""
    found: dict[str, Method] = {}
    for command in commands:
        for text, items in zip(command.patterns, command.parsed_patterns, strict=True):
            for words in _beginnings(items):
                name = _name(words)
                known = found.get(name)
                if known is None:
                    found[name] = Method(name, words, (text,), command.help_short)
                elif known.words == words and text not in known.patterns:
                    found[name] = Method(name, words, (*known.patterns, text), known.help)
    return [found[name] for name in sorted(found)]


def _beginnings(items: Sequence[Item]) -> list[tuple[str, ...]]:
    """The literals a pattern begins with; a choice right after them makes one beginning per option."""
    literals: list[str] = []
    for item in items:
        if item.type == _CHOICE and literals:
            return [(*literals, option) for option in item.options]
        if item.type != _LITERAL:
            break
        literals.append(item.text)
    return [tuple(literals)] if literals else []


def _name(words: Sequence[str]) -> str:
    name = re.sub(r"\W+", "_", " ".join(words)).strip("_")
    if not name or name[0].isdigit() or keyword.iskeyword(name) or name in _TAKEN:
        return f"{name}_" if name and not name[0].isdigit() else f"_{name}"
    return name


def module(description: bytes) -> str:
    """The text of the module for a `-cli` description. Raises InvalidInput."""
    runtime = files("megatools.minimega.app").joinpath("binding_runtime.py").read_text()
    return runtime.rstrip() + "\n" + "".join(_method_text(method) for method in methods(decode(description)))


def _method_text(method: Method) -> str:
    usage = "\n".join(f"            {pattern}" for pattern in method.patterns)
    words = ", ".join(repr(word) for word in method.words)
    doc = f"{method.help}.\n\n{usage}\n        ".replace("\\", "\\\\").replace('"""', "'''")
    return (
        f'\n    def {method.name}(self, *words):\n        """{doc}"""\n        return self._call(({words},), words)\n'
    )


def main() -> int:
    """Read a description from standard input, write the module to standard output; returns the exit status."""
    try:
        sys.stdout.write(module(sys.stdin.buffer.read()))
    except InvalidInput as error:
        print(f"binding: {error}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
