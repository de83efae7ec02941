"""The cluster: how nodes are named and where they stand; any part of igor may use it."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from megatools.hostkit import ranges
from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.igor.model import nodes
from megatools.igor.model.nodes import NodeSet

_BARE = re.compile(r"[0-9,\- ]+")


class Cluster(msgspec.Struct, frozen=True):
    """Nodes `prefix`+`start` .. `prefix`+`end`; numbers are written at least `padlen` digits wide.

    `rackwidth` x `rackheight` nodes make one rack of the diagram.
    """

    prefix: str
    start: int
    end: int
    rackwidth: int
    rackheight: int
    padlen: int = 0

    def __len__(self) -> int:
        return self.end - self.start + 1

    def everything(self) -> NodeSet:
        """All nodes."""
        return NodeSet(((self.start, self.end),))

    def name(self, number: int) -> str:
        """What a node is called."""
        return f"{self.prefix}{number:0{self.padlen}d}"

    def number(self, name: str) -> int:
        """The number of a node; raises NotFound when the cluster has no such node, in its own words."""
        digits = name.removeprefix(self.prefix)
        if not name.startswith(self.prefix) or not digits.isascii() or not digits.isdigit():
            raise NotFound(f'"{name}" is not a node of this cluster', hint=f"nodes are {self.range()}")
        number = int(digits) if len(digits) <= 18 else -1
        if not self.start <= number <= self.end or name != self.name(number):
            raise NotFound(f'"{name}" is not a node of this cluster', hint=f"nodes are {self.range()}")
        return number

    def range(self) -> str:
        """The names of all nodes, as a range."""
        return self.written(self.everything())

    def written(self, chosen: NodeSet) -> str:
        """A set as people write it: `kn[1-10]`, `kn5`, or an empty text."""
        spans = chosen.spans
        if not spans:
            return ""
        width = self.padlen
        if not width:
            body = chosen.text()
        else:
            body = ",".join(f"{a:0{width}d}" if a == b else f"{a:0{width}d}-{b:0{width}d}" for a, b in spans)
        single = len(spans) == 1 and spans[0][0] == spans[0][1]
        return f"{self.prefix}{body}" if single else f"{self.prefix}[{body}]"

    def parse(self, text: str) -> NodeSet:
        """The nodes of `kn[1-10,12]`, `kn1,kn2` or bare numbers `1-10,12`.

        Raises InvalidInput for a bad range or an empty one, NotFound for nodes the cluster does not have.
        """
        spoken = text.strip()
        if spoken and _BARE.fullmatch(spoken):
            spoken = f"{self.prefix}[{spoken}]"
        names = ranges.expand(spoken)
        if not names:
            raise InvalidInput(f'"{text}" names no node', hint=f"write nodes as {self.prefix}[{self.start}-{self.end}]")
        width = max(self.padlen, 1)
        return nodes.of(self.number(self._padded(name, width)) for name in names)

    def _padded(self, name: str, width: int) -> str:
        digits = name.removeprefix(self.prefix)
        plain = name.startswith(self.prefix) and digits.isascii() and digits.isdigit() and len(digits) <= 18
        return f"{self.prefix}{int(digits):0{width}d}" if plain else name

    def names(self, chosen: Iterable[int]) -> list[str]:
        """The names of some numbers, in their order."""
        return [self.name(number) for number in chosen]
