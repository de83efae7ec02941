"""The assignments of one config: `key = "value"`, with the build constraints that stand before them.

Called by the merge. Comments may stand anywhere; `// +build a !b` before a key applies to that key only, all its
terms must hold.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import msgspec

from megatools.vmbetter.config.lexer import Kind, Token, tokens
from megatools.vmbetter.config.source import Source

KEYS = ("parents", "packages", "overlay", "postbuild")


class Assignment(msgspec.Struct, frozen=True):
    """One key with its raw value; `value_offset` is where the value's text begins in the source."""

    key: str
    value: str
    offset: int
    value_offset: int
    constraints: tuple[str, ...] = ()


def parse(source: Source, warn: Callable[[str], None]) -> list[Assignment]:
    """The assignments in order; warnings go to `warn`. Raises ConfigError."""
    found: list[Assignment] = []
    pending: list[Token] = []  # tokens of the assignment being read: the key, then "="
    constraints: list[str] = []
    for token in tokens(source):
        if token.kind is Kind.COMMENT:
            if not pending:
                constraints += _constraints(source, token)
        elif len(pending) < 2:
            _expect(source, token, Kind.WORD if not pending else Kind.EQUALS, pending)
            pending.append(token)
        else:
            _expect(source, token, Kind.STRING, pending)
            if token.unterminated:
                warn(source.describe(token.offset, "string without an end: it ends with its line"))
            key = pending[0]
            found.append(Assignment(key.text, token.text, key.offset, token.text_offset, tuple(constraints)))
            pending, constraints = [], []
    if pending:
        raise source.failure(pending[-1].offset, f'"{pending[0].text}" has no value', hint='write key = "value"')
    return found


def _expect(source: Source, token: Token, kind: Kind, pending: list[Token]) -> None:
    if token.kind is not kind:
        wanted = {Kind.WORD: "a key", Kind.EQUALS: '"="', Kind.STRING: "a string"}[kind]
        after = f' after "{pending[0].text}"' if pending else ""
        raise source.failure(token.offset, f"expected {wanted}{after}", hint='write key = "value"')
    if kind is Kind.WORD and token.text not in KEYS:
        near = difflib.get_close_matches(token.text, KEYS, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"the keys are {', '.join(KEYS)}"
        raise source.failure(token.offset, f'unknown key "{token.text}"', hint=hint)


def _constraints(source: Source, token: Token) -> list[str]:
    words = token.text.split()
    if not words or words[0] != "+build":
        return []
    for word in words[1:]:
        if not word.removeprefix("!").replace("_", "").replace("-", "").isalnum():
            raise source.failure(token.offset, f'bad build constraint "{word}"', hint="use words like debian or !arm64")
    return words[1:]


def holds(constraints: tuple[str, ...], given: frozenset[str]) -> bool:
    """Whether every term holds: a plain one was given, one with `!` was not."""
    return all((term[1:] not in given) if term.startswith("!") else (term in given) for term in constraints)
