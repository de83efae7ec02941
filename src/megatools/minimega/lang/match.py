"""Which command a row of words means: abbreviations, exactness and nested commands. Source: spec B.3.

At each node all candidate parses are collected. One is taken; of several, the single one whose literals and choices
were typed in full; a literal typed in full goes before a string. Otherwise the words are ambiguous and mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.lang.call import Argument, Invocation
from megatools.minimega.lang.trie import Node, TailEdge, Trie

MAX_NESTING = 32


class InvalidCommand(InvalidInput):
    """The words mean no command, or several."""


@dataclass(frozen=True, slots=True)
class NoMatch:
    """Why nothing matched: the patterns that were equally good, and whether nesting went too deep."""

    ambiguous: tuple[int, ...] = ()
    too_deep: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A parse from some node to the end of the words; arguments and words are kept innermost first."""

    number: int
    exact: bool
    arguments: tuple[tuple[str, Argument], ...] = ()
    words: tuple[str, ...] = ()


def match(trie: Trie, words: Sequence[str]) -> Invocation | NoMatch:
    """The command these words mean, or why there is none."""
    matcher = _Matcher(trie, tuple(words))
    found = matcher.nested(0, 0)
    if found is None:
        return NoMatch(matcher.ambiguous, matcher.too_deep)
    return found[0]


class _Matcher:
    """One match; remembers nested parses by position, so that no part is parsed twice."""

    def __init__(self, trie: Trie, words: tuple[str, ...]) -> None:
        self._trie = trie
        self._words = words
        self._nested: dict[int, tuple[Invocation, bool] | None] = {}
        self._deepest = -1
        self.ambiguous: tuple[int, ...] = ()
        self.too_deep = False

    def nested(self, position: int, depth: int) -> tuple[Invocation, bool] | None:
        """The command from this position on, and whether it was typed in full."""
        if depth > MAX_NESTING:
            self.too_deep = True
            return None
        if position not in self._nested:
            found = self._at(self._trie.root, position, depth)
            self._nested[position] = None if found is None else (self._invocation(found), found.exact)
        return self._nested[position]

    def _invocation(self, found: _Found) -> Invocation:
        return Invocation(
            found.number, self._trie.patterns[found.number].text, found.words[::-1], dict(reversed(found.arguments))
        )

    def _at(self, node: Node, position: int, depth: int) -> _Found | None:
        if position == len(self._words):
            return None if node.end is None else _Found(node.end, True)
        word = self._words[position]
        typed: list[_Found] = []
        for edge in node.meant(word):
            rest = self._at(edge.child, position + 1, depth)
            if rest is not None:
                arguments = (*rest.arguments, (edge.key, True)) if edge.key else rest.arguments
                exact = rest.exact and word == edge.word
                typed.append(_Found(rest.number, exact, arguments, (*rest.words, edge.word)))
        free: list[_Found] = []
        for string in node.strings:
            rest = self._at(string.child, position + 1, depth)
            if rest is not None:
                free.append(_Found(rest.number, rest.exact, (*rest.arguments, (string.key, word)), (*rest.words, word)))
        free.extend(found for tail in node.tails if (found := self._tail(tail, position, depth)) is not None)
        return self._choose(typed, free, position)

    def _tail(self, tail: TailEdge, position: int, depth: int) -> _Found | None:
        rest = self._words[position:]
        if not tail.nested:
            return _Found(tail.number, True, ((tail.key, rest),), rest[::-1])
        inner = self.nested(position, depth + 1)
        if inner is None:
            return None
        invocation, exact = inner
        return _Found(tail.number, exact, ((tail.key, invocation),), invocation.words[::-1])

    def _choose(self, typed: list[_Found], free: list[_Found], position: int) -> _Found | None:
        candidates = typed + free
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        for choice in ([found for found in typed if found.exact], [found for found in candidates if found.exact]):
            if len(choice) == 1:
                return choice[0]
        if position > self._deepest:
            self._deepest = position
            self.ambiguous = tuple(dict.fromkeys(found.number for found in candidates))
        return None
