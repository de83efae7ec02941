"""What a benchmark returns, and the line that is printed for it.

A benchmark is a module of this package with `def run(options: Options) -> Iterable[Result]`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How to run: `rounds` alternating rounds whose median counts; None leaves it to the benchmark."""

    rounds: int | None = None


@dataclass(frozen=True)
class Result:
    """One promise, measured.

    `ratio` is what is promised, `limit` its bound: value to reference, both measured in the same run. Without a
    reference (0) the value is an absolute figure: it is compared with the limit for the reader, and never fails a run.
    """

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    limit: float
    higher_is_better: bool
    note: str = ""

    @property
    def binding(self) -> bool:
        """Whether `--check` fails when this is missed."""
        return self.reference != 0

    @property
    def kept(self) -> bool:
        """Whether the promise was kept in this run."""
        measured = self.ratio if self.binding else self.value
        return measured >= self.limit if self.higher_is_better else measured <= self.limit


HEADER = ("name", "value", "reference", "ratio", "limit", "verdict", "note")


def row(result: Result) -> tuple[str, ...]:
    """One result as cells under `HEADER`."""
    sign = ">=" if result.higher_is_better else "<="
    unit = f" {result.unit}" if result.unit else ""
    return (
        result.name,
        f"{result.value:.4g}{unit}",
        f"{result.reference:.4g}{unit}" if result.binding else "-",
        f"{result.ratio:.2f}" if result.binding else "-",
        f"{sign} {result.limit:g}{'' if result.binding else unit}",
        "kept" if result.kept else "missed",
        result.note,
    )
