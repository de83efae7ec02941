"""Splitting a line into words: quotes, escapes and comments. Source: spec B.2.

Single and double quotes behave the same, and may start in the middle of a word; an unquoted `#` begins a comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from megatools.hostkit.errors import InvalidInput

# A line this rich would keep the daemon's loop busy for seconds; length alone is cheap.
MAX_CHUNKS = 1 << 20
_SPECIAL = re.compile(r"[\"'\\#]")
_CHUNK = re.compile(r"[^\s\"'\\#]+|.", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "#": "#"}


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A line that is still being typed: its complete words, and the beginning of the last one."""

    words: tuple[str, ...]
    last: str


def lex(line: str) -> tuple[str, ...]:
    """The words of a line, without its comment; raises `InvalidInput` for bad escapes and open quotes."""
    if not _SPECIAL.search(line):
        return tuple(line.split())
    scan = _Scan()
    for number, chunk in enumerate(_CHUNK.finditer(line)):
        if number == MAX_CHUNKS:
            raise InvalidInput(f"line has more than the limit of {MAX_CHUNKS} words, quotes and escapes")
        scan.take(chunk.group())
        if scan.comment:
            break
    if scan.escaped:
        raise InvalidInput("expected escape character", hint="write a backslash as `\\\\`")
    if scan.quote:
        raise InvalidInput(f"missing terminal {scan.quote}", hint="write a quote that opens no text as `\\\"` or `\\'`")
    scan.end_word()
    return tuple(scan.words)


def lex_unfinished(line: str) -> Unfinished | None:
    """The words of a line being typed; None inside a comment or after a bad escape."""
    scan = _Scan()
    try:
        for chunk in _CHUNK.finditer(line):
            scan.take(chunk.group())
    except InvalidInput:
        return None
    return None if scan.comment else Unfinished(tuple(scan.words), "".join(scan.current))


class _Scan:
    """The state between two characters."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.current: list[str] = []
        self.started = False
        self.quote = ""
        self.escaped = False
        self.comment = False

    def take(self, chunk: str) -> None:
        """Take a run of plain characters, or one special or white one."""
        if self.comment:
            return
        char = self._escape(chunk) if self.escaped else chunk
        if not char:
            return
        if char == "\\":
            self.escaped = self.started = True
        elif self.quote:
            self._quoted(char)
        elif char in "\"'":
            self.quote = char
            self.started = True
        elif char == "#":
            self.comment = True
        elif char.isspace():
            self.end_word()
        else:
            self.current.append(char)
            self.started = True

    def end_word(self) -> None:
        if self.started:
            self.words.append("".join(self.current))
            self.current.clear()
            self.started = False

    def _escape(self, chunk: str) -> str:
        """Take the escaped character; what follows it is left."""
        if chunk[0] not in _ESCAPED:
            raise InvalidInput(f"unexpected escaped character: {chunk[0]}", hint="write a backslash as `\\\\`")
        self.current.append(_ESCAPED[chunk[0]])
        self.escaped = False
        return chunk[1:]

    def _quoted(self, char: str) -> None:
        if char == self.quote:
            self.quote = ""
        else:
            self.current.append(char)
