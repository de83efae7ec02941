"""The way out of an invalid command: the nearest command, its usage, or the list of what it could mean.

Pure; used by the registry for the hint of an error. Source: spec D.24.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from megatools.minimega.lang.pattern import Kind, Pattern

_SHOWN = 6
_COMPARED_WORDS = 4
_COMPARED_CHARS = 40


def hint_for(patterns: Sequence[Pattern], words: Sequence[str], ambiguous: Iterable[int] = ()) -> str:
    """What to tell the user about words that matched nothing."""
    possible = [patterns[number] for number in ambiguous]
    if possible:
        return f"ambiguous, could be {_listed(possible)}"
    begun = [pattern for pattern in patterns if pattern.prefix and _begins(pattern, words)]
    if begun:
        return _hint_inside(patterns, begun, words)
    near = _nearest(patterns, words)
    return f"did you mean {_listed_texts(near)}?" if near else "`help` lists the commands"


def _hint_inside(patterns: Sequence[Pattern], begun: list[Pattern], words: Sequence[str]) -> str:
    """The first literals are right: the next one is misspelt, or the nested command is wrong, or the arguments are."""
    length = max(len(pattern.prefix) for pattern in begun)
    begun = [pattern for pattern in begun if len(pattern.prefix) == length]
    prefixes = {pattern.prefix for pattern in begun}
    longer = {
        p.prefix[length]: p.prefix[: length + 1]
        for p in patterns
        if p.prefix[:length] in prefixes and p.prefix[length:]
    }
    if len(words) > length and words[length]:
        near = difflib.get_close_matches(words[length][:_COMPARED_CHARS], longer, n=3, cutoff=0.6)
        if near:
            return f"did you mean {_listed_texts([' '.join(longer[word]) for word in near])}?"
    inner = _inner(begun, words)
    return hint_for(patterns, inner) if inner else f"usage: {_listed(begun)}"


def _begins(pattern: Pattern, words: Sequence[str]) -> bool:
    prefix = pattern.prefix
    if len(words) < len(prefix):
        return False
    in_full = words[0] == prefix[0]
    abbreviable = len(prefix) > 1 or bool(pattern.items[-1].kind & Kind.COMMAND)
    fits = all(word and literal.startswith(word) for literal, word in zip(prefix, words, strict=False))
    return fits and (in_full or abbreviable)


def _inner(patterns: Sequence[Pattern], words: Sequence[str]) -> Sequence[str]:
    """The words of the nested command, when that is what is wrong."""
    for pattern in patterns:
        outer = len(pattern.items) - 1
        if pattern.items[-1].kind & Kind.COMMAND and len(words) > outer > 0:
            return words[outer:]
    return ()


def _nearest(patterns: Sequence[Pattern], words: Sequence[str]) -> list[str]:
    names = {" ".join(_spoken(pattern)): None for pattern in patterns if pattern.prefix}
    typed = [part for word in words[:_COMPARED_WORDS] for part in _parts(word[:_COMPARED_CHARS], names)]
    found: dict[str, None] = {}
    for length in range(len(typed), 0, -1):
        text = " ".join(typed[:length])
        same = [name for name in names if name.count(" ") == length - 1]
        found.update(dict.fromkeys(difflib.get_close_matches(text, same, n=3, cutoff=0.7)))
        if found:
            return list(found)[:3]
    if not typed or not typed[0]:
        return []
    siblings = [name for name in names if name.split(" ")[0] == typed[0]]
    return (siblings or [name for name in names if name.startswith(typed[0])])[:_SHOWN]


def _parts(word: str, names: Iterable[str]) -> list[str]:
    """A classic word that is none is compared as several: `vm_info` is near `vm info`."""
    spoken = word.replace("_", " ")
    return spoken.split() if spoken in names else [word]


def _spoken(pattern: Pattern) -> tuple[str, ...]:
    return pattern.prefix[:_COMPARED_WORDS]


def _listed(patterns: Sequence[Pattern]) -> str:
    return _listed_texts([str(pattern) for pattern in patterns])


def _listed_texts(texts: Sequence[str]) -> str:
    shown = ", ".join(f"`{text}`" for text in texts[:_SHOWN])
    return shown if len(texts) <= _SHOWN else f"{shown} and {len(texts) - _SHOWN} more"
