"""Quoting of words, the inverse of the lexer.

Standard library only: the thin client imports this module before anything else. Source: spec B.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[^\s\"'\\#]+")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
_SPECIAL = re.compile(r"[\n\r\t\\\"]")


def quote(word: str) -> str:
    """The word in a form that lexes to itself: as it is when it can be, else in double quotes."""
    if _PLAIN.fullmatch(word):
        return word
    return '"' + _SPECIAL.sub(lambda match: _ESCAPES[match.group()], word) + '"'


def join_words(words: Iterable[str]) -> str:
    """One line that lexes to exactly these words."""
    return " ".join(quote(word) for word in words)


def command_line(words: list[str]) -> str:
    """The line that `-e words...` means: one word is a complete line, several are words to be quoted."""
    return words[0] if len(words) == 1 else join_words(words)
