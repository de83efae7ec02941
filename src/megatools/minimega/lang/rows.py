"""Filters, columns and order of table rows. Pure; for the built-ins and rendering. Source: spec B.5, B.6, D.24."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.lang.answer import Group, Response

_FILTER = re.compile(r"([^!~=]+)(!~|!=|~|=)(.*)", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")


@dataclass(frozen=True, slots=True)
class Filter:
    """`column op value`, with the value in lower case."""

    column: str
    negated: bool
    substring: bool
    value: str

    def accepts(self, cell: str) -> bool:
        """Whether a cell passes; cells that hold a list or an object are always matched by substring."""
        text = cell.lower()
        found = self.value in text if self.substring or _is_composite(text) else self.value == text
        return found != self.negated


def _is_composite(cell: str) -> bool:
    return (cell.startswith("[") and cell.endswith("]")) or (cell.startswith("{") and cell.endswith("}"))


def parse_filter(text: str) -> Filter:
    """A filter from `col=val`, `col!=val`, `col~val` or `col!~val`; raises `InvalidInput`."""
    match = _FILTER.fullmatch(text)
    if match is None or not match.group(1).strip():
        raise InvalidInput(
            "invalid filter, see help", hint="write `column=value`, `!=`, `~` or `!~`, for example state=running"
        )
    column, operator, value = match.groups()
    return Filter(column.strip(), operator.startswith("!"), operator.endswith("~"), value.lower())


def resolve_column(name: str, header: Sequence[str]) -> int:
    """The index of a column by its name or a unique prefix, in any case; raises `InvalidInput`."""
    wanted = name.strip().lower()
    lowered = [column.lower() for column in header]
    if wanted in lowered:
        return lowered.index(wanted)
    possible = [index for index, column in enumerate(lowered) if column.startswith(wanted)]
    if len(possible) == 1 and wanted:
        return possible[0]
    if possible:
        names = ", ".join(header[index] for index in possible)
        raise InvalidInput(f"ambiguous column `{name}`", hint=f"could be {names}")
    raise InvalidInput(f"no such column `{name}`", hint=f"the columns are {', '.join(header)}")


def filter_group(group: Group, condition: Filter) -> Group:
    """The group with the rows that pass; `host` filters whole responses, what has no table passes."""
    if condition.column.lower() == "host" and not any("host" in (r.header or ()) for r in group):
        return [response for response in group if condition.accepts(response.host)]
    return [_filtered(response, condition) for response in group]


def _filtered(response: Response, condition: Filter) -> Response:
    if response.header is None or not response.tabular:
        return response
    index = resolve_column(condition.column, response.header)
    return msgspec.structs.replace(response, tabular=[row for row in response.tabular if condition.accepts(row[index])])


def choose_columns(group: Group, names: Sequence[str]) -> Group:
    """The group with only these columns, in this order."""
    return [_projected(response, names) for response in group]


def _projected(response: Response, names: Sequence[str]) -> Response:
    if response.header is None:
        return response
    indices = [resolve_column(name, response.header) for name in names]
    header = [response.header[index] for index in indices]
    tabular = None if response.tabular is None else [[row[index] for index in indices] for row in response.tabular]
    return msgspec.structs.replace(response, header=header, tabular=tabular)


def sort_rows(rows: list[list[str]]) -> list[list[str]]:
    """Rows in order: the first differing cell decides, as numbers when both are integers, else by bytes."""
    if len(rows) < 2:
        return rows
    numeric = [[_INTEGER.fullmatch(cell) is not None for cell in column] for column in zip(*rows, strict=True)]
    if all(all(column) or not any(column) for column in numeric):
        kinds = [bool(column and column[0]) for column in numeric]
        return sorted(rows, key=lambda row: [int(c) if number else c for number, c in zip(kinds, row, strict=True)])
    return sorted(rows, key=functools.cmp_to_key(_compare))


def _compare(one: Sequence[str], other: Sequence[str]) -> int:
    for left, right in zip(one, other, strict=False):
        if left == right:
            continue
        if _INTEGER.fullmatch(left) and _INTEGER.fullmatch(right) and int(left) != int(right):
            return -1 if int(left) < int(right) else 1
        return -1 if left < right else 1
    return 0
