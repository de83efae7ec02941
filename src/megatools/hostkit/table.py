"""Text tables: `cell<pad>| cell<pad>| cell`. Anyone may print with it.

Each column is as wide as its longest cell plus one, at least five; the leading `| ` of every column after the first
counts; the last column is not padded. Source: spec B.6.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

MIN_WIDTH = 5


def layout(rows: Sequence[Sequence[str]]) -> str:
    """The rows as aligned lines; every row has as many cells as the first."""
    if not rows:
        return ""
    widths = [
        max(MIN_WIDTH, max(map(len, column)) + (1 if index == 0 else 3))
        for index, column in enumerate(zip(*rows, strict=True))
    ]
    pads = [width if index == 0 else width - 2 for index, width in enumerate(widths)]
    return "\n".join(_line(row, pads) for row in rows)


def _line(row: Sequence[str], pads: Sequence[int]) -> str:
    *leading, last = row
    return "".join(f"{cell:<{pad}}| " for cell, pad in zip(leading, pads, strict=False)) + last


def as_csv(rows: Sequence[Sequence[str]]) -> str:
    """The rows as comma separated values (RFC 4180 quoting, lines end in a newline)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
