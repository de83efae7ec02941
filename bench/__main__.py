"""`python -m bench [NAME...] [--check] [--rounds N] [--list]`: run benchmarks, print one line per promise."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

from bench.promise import HEADER, Options, Result, row

_OURS = {"__main__", "promise"}


def benchmarks() -> dict[str, Callable[[Options], Iterable[Result]]]:
    """Every module here that has a `run`, by name."""
    found: dict[str, Callable[[Options], Iterable[Result]]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name in _OURS:
            continue
        run = getattr(importlib.import_module(f"bench.{module.name}"), "run", None)
        if run is not None:
            found[module.name] = cast("Callable[[Options], Iterable[Result]]", run)
    return found


def with_parts(names: Iterable[str]) -> list[str]:
    """Benchmarks by name, each followed by those its module lists as `PARTS`; none twice."""
    found: list[str] = []
    for name in names:
        parts: tuple[str, ...] = getattr(importlib.import_module(f"bench.{name}"), "PARTS", ())
        found += [name, *parts]
    return list(dict.fromkeys(found))


def main() -> int:
    """Run what is asked for; 1 with --check when a ratio was missed, 2 for an unknown name."""
    known = benchmarks()
    parser = argparse.ArgumentParser(prog="scripts/bench", description="one line per promise, measured here and now")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(known)} (default: all)")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 when a ratio is missed (absolute figures only inform)"
    )
    parser.add_argument("--rounds", type=int, help="alternating rounds per figure")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args()
    if options.list:
        print("\n".join(known))
        return 0
    unknown = [name for name in options.names if name not in known]
    if unknown:
        print(f'bench: no benchmark "{unknown[0]}"; there are: {", ".join(known)}', file=sys.stderr)
        return 2
    results: list[Result] = []
    for name in with_parts(options.names or known):
        results.extend(known[name](Options(rounds=options.rounds)))
    _print_table([HEADER, *(row(result) for result in results)])
    missed = [result.name for result in results if result.binding and not result.kept]
    return 1 if options.check and missed else 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEADER))]
    for cells in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(cells, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
