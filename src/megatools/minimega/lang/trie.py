"""All patterns as one tree: a node is what has been read so far, an edge is one more item.

Built by the registry; walked by the matcher and by completion. Source: spec B.1, B.3.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from megatools.minimega.lang.pattern import BadPattern, Item, Kind, Pattern


@dataclass(slots=True)
class WordEdge:
    """A literal (no key) or one option of a choice (its key is the option)."""

    word: str
    key: str
    exact: bool
    child: Node

    def accepts(self, word: str) -> bool:
        """Whether the word typed means this one."""
        return word == self.word if self.exact else self.word.startswith(word)


@dataclass(slots=True)
class StringEdge:
    """Any one word; `owners` are the patterns that pass through."""

    key: str
    child: Node
    owners: list[int]


@dataclass(slots=True)
class TailEdge:
    """The rest of the line: a list, or a nested command."""

    key: str
    number: int
    nested: bool


@dataclass(slots=True)
class Node:
    """What can follow, and the pattern that may end here."""

    end: int | None = None
    words: list[WordEdge] = field(default_factory=list)
    strings: list[StringEdge] = field(default_factory=list)
    tails: list[TailEdge] = field(default_factory=list)

    def meant(self, word: str) -> Iterator[WordEdge]:
        """The literals and options this word may stand for, in order."""
        index = bisect_left(self.words, word, key=_word)
        while index < len(self.words) and self.words[index].word.startswith(word):
            if self.words[index].accepts(word):
                yield self.words[index]
            index += 1


def _word(edge: WordEdge) -> str:
    return edge.word


class Trie:
    """The tree; patterns are known by a number, and those of one command share a group."""

    def __init__(self) -> None:
        self.root = Node()
        self.patterns: list[Pattern] = []
        self._groups: list[int] = []

    def add(self, pattern: Pattern, number: int, group: int, *, exact: bool) -> None:
        """Add a pattern under the next number; raises `BadPattern` when another command ends at the same place."""
        if number != len(self.patterns):
            raise BadPattern(f"pattern '{pattern}' has number {number}, the next one is {len(self.patterns)}")
        self.patterns.append(pattern)
        self._groups.append(group)
        self._grow(self.root, pattern.items, number, exact)

    def _grow(self, node: Node, items: tuple[Item, ...], number: int, exact: bool) -> None:
        if not items or items[0].optional:
            self._end(node, number)
            if not items:
                return
        item, rest = items[0], items[1:]
        if item.kind & (Kind.LIST | Kind.COMMAND):
            node.tails.append(TailEdge(item.key, number, bool(item.kind & Kind.COMMAND)))
        elif item.kind & Kind.STRING:
            self._grow(_string_child(node, item.key, number), rest, number, exact)
        else:
            for word in item.words:
                key = word if item.kind & Kind.CHOICE else ""
                self._grow(_word_child(node, word, key, exact), rest, number, exact)

    def _end(self, node: Node, number: int) -> None:
        if node.end is None:
            node.end = number
        elif self._groups[node.end] != self._groups[number]:
            raise self._conflict(node.end, number)

    def _conflict(self, first: int, second: int) -> BadPattern:
        return BadPattern(f"conflicting handlers: '{self.patterns[first]}' and '{self.patterns[second]}'")

    def validate(self) -> None:
        """Raises `BadPattern` when some fully typed line would fit two commands."""
        self._compare(self.root, self.root)

    def _compare(self, one: Node, other: Node) -> None:
        """Both nodes are reached by the same line: no line may go on to an end of another command in each."""
        if one.end is not None and other.end is not None:
            self._same_command(one.end, other.end)
        for edge in one.words:
            for twin in _same_word(other, edge.word):
                self._compare(edge.child, twin.child)
        for string in one.strings:
            for rival in other.strings:
                self._compare(string.child, rival.child)
            for tail in other.tails:
                self._compare_tail(tail, string.child)
        for tail in one.tails:
            for competitor in other.tails:
                self._same_command(tail.number, competitor.number)

    def _compare_tail(self, tail: TailEdge, node: Node) -> None:
        """A list takes whatever is left: no command that takes only strings may stand beside it."""
        if node.end is not None:
            self._same_command(tail.number, node.end)
        for rival in node.tails:
            self._same_command(tail.number, rival.number)
        for string in node.strings:
            self._compare_tail(tail, string.child)

    def _same_command(self, first: int, second: int) -> None:
        if self._groups[first] != self._groups[second]:
            raise self._conflict(first, second)


def _same_word(node: Node, word: str) -> list[WordEdge]:
    return [edge for edge in node.meant(word) if edge.word == word]


def _word_child(node: Node, word: str, key: str, exact: bool) -> Node:
    for edge in node.words[bisect_left(node.words, word, key=_word) :]:
        if edge.word != word:
            break
        if edge.key == key and edge.exact == exact:
            return edge.child
    child = Node()
    insort(node.words, WordEdge(word, key, exact, child), key=_word)
    return child


def _string_child(node: Node, key: str, number: int) -> Node:
    for edge in node.strings:
        if edge.key == key:
            edge.owners.append(number)
            return edge.child
    child = Node()
    node.strings.append(StringEdge(key, child, [number]))
    return child
