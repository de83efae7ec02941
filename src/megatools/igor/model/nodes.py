"""Sets of node numbers, as sorted spans; every part of igor may use it.

A cluster numbers its nodes `start..end`; a set is kept as spans because reservations are mostly blocks: `1-10,12`. The
scheduler wants a bit mask instead (`mask`): bit i stands for node `start + i`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

Span = tuple[int, int]


class NodeSet(msgspec.Struct, frozen=True, gc=False):
    """Node numbers; `spans` are sorted, disjoint, not adjacent, both ends included."""

    spans: tuple[Span, ...] = ()

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.spans)

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.spans:
            yield from range(first, last + 1)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and any(first <= number <= last for first, last in self.spans)

    def __or__(self, other: NodeSet) -> NodeSet:
        return of({*self, *other})

    def __sub__(self, other: NodeSet) -> NodeSet:
        return of(set(self) - set(other))

    def __and__(self, other: NodeSet) -> NodeSet:
        return of(set(self) & set(other))

    def text(self) -> str:
        """The set as `1-10,12`; an empty set is an empty text."""
        return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in self.spans)

    def mask(self, start: int) -> int:
        """A bit per node, bit 0 for node `start`; numbers below `start` must not be in the set."""
        bits = 0
        for first, last in self.spans:
            bits |= ((1 << (last - first + 1)) - 1) << (first - start)
        return bits


def of(numbers: Iterable[int]) -> NodeSet:
    """The set of some numbers, in any order, duplicates allowed."""
    spans: list[Span] = []
    first = last = None
    for number in sorted(set(numbers)):
        if last is not None and number == last + 1:
            last = number
            continue
        if first is not None and last is not None:
            spans.append((first, last))
        first = last = number
    if first is not None and last is not None:
        spans.append((first, last))
    return NodeSet(tuple(spans))


def from_text(text: str) -> NodeSet:
    """The set that `NodeSet.text` wrote; the text is our own and must be well formed (else ValueError)."""
    spans: list[Span] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        spans.append((int(first), int(last or first)))
    return NodeSet(tuple(spans))


def from_mask(mask: int, start: int) -> NodeSet:
    """The set of a bit mask whose bit 0 stands for node `start`."""
    spans: list[Span] = []
    at = start
    while mask:
        gap = (mask & -mask).bit_length() - 1
        mask >>= gap
        run = (~mask & (mask + 1)).bit_length() - 1
        mask >>= run
        spans.append((at + gap, at + gap + run - 1))
        at += gap + run
    return NodeSet(tuple(spans))
