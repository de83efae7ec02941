"""How response groups look to people: tables, CSV, JSON and merged texts. Pure. Source: spec B.6.

Error texts are rendered apart, by `error_lines`; in the group they stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from megatools.hostkit.ranges import compress
from megatools.hostkit.table import as_csv, layout
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.options import Options
from megatools.minimega.lang.rows import sort_rows


def render(group: Group, options: Options) -> str:
    """The text of a group, without surrounding whitespace; empty when there is nothing to show."""
    if options.json:
        return msgspec.json.encode([_ordered(response, options) for response in group]).decode()
    answers = [response for response in group if not response.error]
    problem = _mismatch(answers)
    if problem:
        return problem
    if any(response.tabular for response in answers):
        return _table(answers, options).strip()
    return _texts([response for response in group if response.response], options).strip()


def error_lines(group: Group) -> list[str]:
    """One text `Error (<host>): <text>` per failing response."""
    return [f"Error ({response.host}): {response.error}" for response in group if response.error]


def _ordered(response: Response, options: Options) -> Response:
    if not options.sort or not response.tabular or _ragged(response.tabular):
        return response
    return msgspec.structs.replace(response, tabular=sort_rows(response.tabular))


def _ragged(rows: Sequence[Sequence[str]]) -> bool:
    return any(len(row) != len(rows[0]) for row in rows)


def _mismatch(answers: Sequence[Response]) -> str:
    """What is wrong with answers that do not fit together, or an empty text."""
    tables = [response for response in answers if response.header is not None]
    if tables and any(response.header is None and response.response for response in answers):
        return "responses mix simple and tabular data"
    if any(response.header != tables[0].header for response in tables):
        return f"header mismatch, hosts: {', '.join(response.host for response in tables)}"
    for response in tables:
        for index, row in enumerate(response.tabular or ()):
            if len(row) != len(response.header or ()):
                return f"tabular width mismatch, host: {response.host}, row: {index}"
    return ""


def _table(answers: Sequence[Response], options: Options) -> str:
    header = next(list(response.header) for response in answers if response.header is not None)
    rows = [
        [response.host, *row] if options.annotate else row for response in answers for row in response.tabular or ()
    ]
    if options.sort:
        rows = sort_rows(rows)
    if options.headers:
        rows = [["host", *header] if options.annotate else header, *rows]
    return as_csv(rows) if options.csv else layout(rows)


def _texts(answers: Sequence[Response], options: Options) -> str:
    if not options.compress or len(answers) < 2:
        return "\n".join(_annotated(response.host, response.response, options) for response in answers)
    hosts: dict[str, list[str]] = {}
    for response in answers:
        hosts.setdefault(response.response, []).append(response.host)
    merged = sorted((compress(names), text) for text, names in hosts.items())
    return "\n".join(_annotated(names, text, options) for names, text in merged)


def _annotated(hosts: str, text: str, options: Options) -> str:
    return f"{hosts}: {text}" if options.annotate else text
