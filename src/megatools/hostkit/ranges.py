"""Names written as ranges: `kn[1-4,9]`, the notation of hosts, VM targets and reservations.

Anyone may call it. A text is a comma-separated list of items; an item holds at most one bracketed group, at its
end. Numbers keep their leading zeros when all numbers of the group are equally wide (`kn[008-011]`). Compression
may write a suffix after the group (`kn[1-2].lab`) for the reader's sake; such a text is refused as input.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from megatools.hostkit.errors import InvalidInput

MAX_NAMES = 1_000_000
_SUBRANGE = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_NUMBERED = re.compile(r"(?P<prefix>.*?)(?P<number>[0-9]+)(?P<suffix>[^0-9]*)", re.DOTALL)
_MAX_DIGITS = 18
_HINT = "write names as kn[1-3,7], items separated by commas, one group at the end of each"


def expand(text: str) -> list[str]:
    """Every name of a range expression, in the order written; an empty text holds none.

    Raises InvalidInput: nested '[', unmatched ']', unterminated '[', invalid range specification, invalid subrange X,
    or more than a million names.
    """
    names: list[str] = []
    if not text.strip():
        return names
    for item in _items(text):
        names.extend(_expand_item(item.strip(), MAX_NAMES - len(names)))
    return names


def compress(names: Iterable[str]) -> str:
    """The shortest usual writing of a set of names, duplicates dropped, sorted by prefix and number."""
    groups: dict[tuple[str, str], set[str]] = {}
    plain: set[str] = set()
    for name in names:
        parts = None if _has_syntax(name) else _NUMBERED.fullmatch(name)
        if parts is None or len(parts["number"]) > _MAX_DIGITS:
            plain.add(name)
        else:
            groups.setdefault((parts["prefix"], parts["suffix"]), set()).add(parts["number"])
    written = [(name, 0, name) for name in plain]
    for (prefix, suffix), numbers in groups.items():
        for members in _by_width(numbers):
            body = ",".join(_runs(members))
            body = body if len(members) == 1 else f"[{body}]"
            written.append((prefix, int(members[0]), f"{prefix}{body}{suffix}"))
    return ",".join(text for _, _, text in sorted(written))


def by_number(name: str) -> tuple[str, int, str]:
    """A key that sorts names by prefix, then by the number at their end: kn2 before kn10."""
    prefix = name.rstrip("0123456789")
    number = name[len(prefix) :]
    return prefix, int(number[-_MAX_DIGITS:] or -1), number


def _has_syntax(name: str) -> bool:
    return any(character in name for character in "[],")


def _items(text: str) -> Iterator[str]:
    """Split at the commas outside brackets, checking the brackets on the way."""
    start, inside = 0, False
    for at, character in enumerate(text):
        if character == "[":
            if inside:
                raise InvalidInput("nested '['", hint=_HINT)
            inside = True
        elif character == "]":
            if not inside:
                raise InvalidInput("unmatched ']'", hint=_HINT)
            inside = False
        elif character == "," and not inside:
            yield text[start:at]
            start = at + 1
    if inside:
        raise InvalidInput("unterminated '['", hint=_HINT)
    yield text[start:]


def _expand_item(item: str, room: int) -> list[str]:
    prefix, bracket, rest = item.partition("[")
    if not bracket:
        if not item:
            raise InvalidInput("invalid range specification", hint=_HINT)
        return [item]
    body, _, suffix = rest.partition("]")
    if suffix:
        raise InvalidInput("invalid range specification", hint=_HINT)
    bounds = [_bounds(part.strip()) for part in body.split(",")]
    total = sum(int(high) - int(low) + 1 for low, high in bounds)
    if total > room:
        raise InvalidInput(f'range "{item}" holds more names than the limit of {MAX_NAMES}', hint="split it")
    widths = {len(end) for pair in bounds for end in pair}
    width = widths.pop() if len(widths) == 1 else 0
    return [f"{prefix}{number:0{width}d}" for low, high in bounds for number in range(int(low), int(high) + 1)]


def _bounds(part: str) -> tuple[str, str]:
    found = _SUBRANGE.fullmatch(part)
    if found is None or len(part) > 2 * _MAX_DIGITS:
        raise InvalidInput(f"invalid subrange {part}", hint=_HINT)
    low, high = found[1], found[2] or found[1]
    if int(high) < int(low):
        raise InvalidInput(f"invalid subrange {part}", hint="the first number of a range is its smallest")
    return low, high


def _by_width(numbers: set[str]) -> Iterator[list[str]]:
    """Numbers that may share one group: each padded width by itself, the rest together; each sorted by value."""
    padded = {len(number) for number in numbers if number[0] == "0" and len(number) > 1}
    for width in sorted(padded):
        yield sorted(number for number in numbers if len(number) == width)
    rest = sorted((number for number in numbers if len(number) not in padded), key=int)
    if rest:
        yield rest


def _runs(members: list[str]) -> Iterator[str]:
    first = last = members[0]
    for number in members[1:]:
        if int(number) == int(last) + 1:
            last = number
            continue
        yield first if first == last else f"{first}-{last}"
        first = last = number
    yield first if first == last else f"{first}-{last}"
