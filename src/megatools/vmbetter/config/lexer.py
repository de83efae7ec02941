"""Tokens of a config: words, `=`, strings and comments.

Called by the parser. Strings are raw: `"..."` ends at the next quote that no backslash precedes, or, with a warning,
at the end of its line; back quotes hold anything, many lines too. Escapes are not interpreted.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

import msgspec

from megatools.vmbetter.config.source import Source


class Kind(enum.Enum):
    """What a token is."""

    WORD = "word"
    EQUALS = "equals"
    STRING = "string"
    COMMENT = "comment"


class Token(msgspec.Struct, frozen=True):
    """One token: its text without quotes or comment signs, and where it and that text begin (offsets)."""

    kind: Kind
    text: str
    offset: int
    text_offset: int
    unterminated: bool = False


def tokens(source: Source) -> Iterator[Token]:
    """The tokens of a config, in order. Raises ConfigError at what is none."""
    text, at = source.text, 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token, at = _token(source, at)
        yield token


def _token(source: Source, at: int) -> tuple[Token, int]:
    text = source.text
    if text.startswith(("//", "/*"), at):
        return _comment(source, at)
    if text[at] == '"':
        return _quoted(source, at)
    if text[at] == "`":
        end = text.find("`", at + 1)
        if end < 0:
            raise source.failure(at, "back quote without an end", hint="close the block with another back quote")
        return Token(Kind.STRING, text[at + 1 : end], at, at + 1), end + 1
    if text[at] == "=":
        return Token(Kind.EQUALS, "=", at, at), at + 1
    if text[at] == "_" or text[at].isalpha():
        end = at
        while end < len(text) and (text[end] == "_" or text[end].isalnum()):
            end += 1
        return Token(Kind.WORD, text[at:end], at, at), end
    raise source.failure(at, f"unexpected character {text[at]!r}", hint=_hint(text[at]))


def _hint(character: str) -> str:
    """What somebody may have meant by a character that begins no token."""
    if character == "#":
        return 'comments begin with "//"'
    if character in ",;":
        return "words of a list are parted by spaces, and nothing ends an assignment"
    if character in "+:":
        return 'write key = "value"; a key given again adds to its value'
    return 'values stand in "double quotes", or in `back quotes` for many lines'


def _comment(source: Source, at: int) -> tuple[Token, int]:
    if source.text.startswith("//", at):
        end = source.text.find("\n", at)
        end = len(source.text) if end < 0 else end
        return Token(Kind.COMMENT, source.text[at + 2 : end], at, at + 2), end
    end = source.text.find("*/", at + 2)
    if end < 0:
        raise source.failure(at, "comment without an end", hint='close it with "*/"')
    return Token(Kind.COMMENT, source.text[at + 2 : end], at, at + 2), end + 2


def _quoted(source: Source, at: int) -> tuple[Token, int]:
    text, end = source.text, at + 1
    while end < len(text) and text[end] not in '"\n':
        end += 2 if text[end] == "\\" and text[end + 1 : end + 2] not in ("", "\n") else 1
    closed = text[end : end + 1] == '"'
    return Token(Kind.STRING, text[at + 1 : end].rstrip("\r"), at, at + 1, not closed), end + closed
