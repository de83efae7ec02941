"""What can follow on an unfinished line: the words of the grammar, and which argument is being typed.

Pure: it walks the tree of patterns; the interpreter asks the sources of arguments for names. Source: spec B.8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatools.minimega.lang.quote import quote
from megatools.minimega.lang.trie import Node, TailEdge, Trie


@dataclass(frozen=True, slots=True)
class Expected:
    """Words of the grammar that fit, and the arguments that may stand here: key and a pattern they belong to."""

    words: tuple[str, ...]
    arguments: tuple[tuple[str, int], ...]


def expected(trie: Trie, words: Sequence[str], last: str) -> Expected:
    """What may stand after complete words, at the place of a word that begins with `last`."""
    states: list[Node | TailEdge] = _opened([trie.root], trie)
    for word in words:
        states = _opened(_after(states, word), trie)
    found: dict[str, None] = {}
    arguments: dict[tuple[str, int], None] = {}
    for state in states:
        if isinstance(state, TailEdge):
            arguments[state.key, state.number] = None
            continue
        found.update((edge.word, None) for edge in state.words if edge.word.startswith(last))
        arguments.update(((edge.key, owner), None) for edge in state.strings for owner in edge.owners)
    return Expected(tuple(sorted(found)), tuple(arguments))


def _opened(states: Iterable[Node | TailEdge], trie: Trie) -> list[Node | TailEdge]:
    """The states and what they open: a list may begin here, a nested command starts at the root again."""
    opened: dict[int, Node | TailEdge] = {}
    for state in states:
        opened[id(state)] = state
        for tail in state.tails if isinstance(state, Node) else ():
            following = trie.root if tail.nested else tail
            opened[id(following)] = following
    return list(opened.values())


def _after(states: Iterable[Node | TailEdge], word: str) -> list[Node | TailEdge]:
    following: list[Node | TailEdge] = []
    for state in states:
        if isinstance(state, TailEdge):
            following.append(state)
            continue
        meant = list(state.meant(word))
        typed = [edge for edge in meant if edge.word == word]
        following.extend(edge.child for edge in typed or meant)
        following.extend(edge.child for edge in state.strings)
    return following


def paths(text: str, files: Path | None) -> list[str]:
    """Local paths that begin with the text; relative ones are looked up in the file directory."""
    folder, slash, name = text.rpartition("/")
    prefix = folder + slash
    base = Path(prefix) if text.startswith(("/", ".")) else (files or Path()) / prefix
    try:
        entries = sorted(entry for entry in base.iterdir() if entry.name.startswith(name))
    except OSError:  # nothing to offer where one cannot look
        return []
    return [f"{prefix}{entry.name}{'/' if entry.is_dir() else ''}" for entry in entries]


def finished(candidates: Iterable[str]) -> list[str]:
    """Candidates as they replace the word typed: quoted, with a trailing space unless they end in `/`."""
    return [text if text.endswith("/") else f"{text} " for text in map(quote, dict.fromkeys(candidates))]
