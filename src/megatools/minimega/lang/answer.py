"""What a command answers: tables, texts and errors, for one host or many.

Anyone in minimega may make these; only `lang` renders them. The field names of `Response` on the wire are
those of the command socket's JSON protocol (spec B.6, B.9).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from enum import Enum
from typing import TypeAlias

import msgspec
import msgspec.structs


class Table(msgspec.Struct, frozen=True):
    """Column names and rows of cells; every row is as wide as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """One host's answer to one operation: a text, a table, or both empty; `data` is extra JSON for programs.

    `missing` are the words of a VM target that name nothing on this host.
    """

    text: str = ""
    table: Table | None = None
    data: msgspec.Raw | None = None
    missing: tuple[str, ...] = ()


class Response(msgspec.Struct, frozen=True, rename="pascal"):
    """One host's part of a response group, as it goes over the command socket."""

    host: str
    response: str = ""
    header: list[str] | None = None
    tabular: list[list[str]] | None = None
    error: str = ""
    data: msgspec.Raw | None = None


Group: TypeAlias = list[Response]
Groups: TypeAlias = AsyncIterator[Group]


def cell(value: object) -> str:
    """How a value looks in a table: lists as `[a, b]`, mappings as JSON, absent ones as `N/A`."""
    match value:
        case None:
            return "N/A"
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case str():
            return value
        case tuple() | list():
            return f"[{', '.join(cell(item) for item in value)}]"
        case dict():
            return msgspec.json.encode(value, order="sorted").decode()
        case _:
            return str(value)


def rows_table(kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> Table:
    """A table of records: the columns are the fields' encoded names, in order."""
    fields = msgspec.structs.fields(kind)
    return Table(
        tuple(field.encode_name for field in fields),
        tuple(tuple(cell(getattr(row, field.name)) for field in fields) for row in rows),
    )


def response_of(host: str, answer: Answer) -> Response:
    """A host's answer in the form of the command socket."""
    if answer.table is None:
        return Response(host, answer.text, data=answer.data)
    return Response(
        host, answer.text, list(answer.table.header), [list(row) for row in answer.table.rows], data=answer.data
    )
