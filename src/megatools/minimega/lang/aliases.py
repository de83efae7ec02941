"""Aliases: a first word that stands for the beginning of a longer line.

Expanded once, for lines typed at a prompt or sent over the socket; never in scripts. Source: spec B.3.
"""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput


class Aliases:
    """The aliases of one interpreter, in order of definition."""

    def __init__(self) -> None:
        self._expansions: dict[str, str] = {}

    def define(self, text: str) -> None:
        """Define from `alias=expansion`; the name is what stands before the first `=`. Raises `InvalidInput`."""
        name, separator, expansion = text.partition("=")
        name, expansion = name.strip(), expansion.strip()
        if not separator or not name or not expansion or len(name.split()) != 1:
            raise InvalidInput(
                "expected alias of format `alias=expansion`", hint=".alias vmr=.filter state=running vm info"
            )
        self._expansions[name] = expansion

    def forget(self, name: str) -> None:
        """Forget an alias; an unknown one is fine."""
        self._expansions.pop(name, None)

    def rows(self) -> tuple[tuple[str, str], ...]:
        """Name and expansion of each."""
        return tuple(self._expansions.items())

    def expand(self, line: str) -> str:
        """The line with its first word replaced, once, when it is an alias."""
        stripped = line.strip()
        word = stripped.split(maxsplit=1)[0] if stripped else ""
        expansion = self._expansions.get(word)
        return line if expansion is None else expansion + stripped[len(word) :]
