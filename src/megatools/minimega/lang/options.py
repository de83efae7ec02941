"""The output and execution modifiers: `.annotate`, `.csv` and their kin, as one immutable record.

The interpreter holds the global values; each command line starts from them in a scope of its own, which the
per-command forms change. Source: spec B.5.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """The modifiers' values; the defaults are those of a fresh daemon."""

    annotate: bool = True
    headers: bool = True
    sort: bool = True
    compress: bool = True
    csv: bool = False
    json: bool = False
    record: bool = True
    preprocess: bool = True

    def get(self, name: str) -> bool:
        """The value of a modifier by name."""
        value: bool = getattr(self, name)
        return value

    def put(self, name: str, value: bool) -> Options:
        """With one modifier changed; switching `csv` on switches `json` off, and the other way round."""
        if self.get(name) == value:
            return self
        changes = {name: value}
        if value and name in ("csv", "json"):
            changes["json" if name == "csv" else "csv"] = False
        return dataclasses.replace(self, **changes)

    def differences(self, other: Options) -> dict[str, bool]:
        """The modifiers whose value is another one there, with the value here."""
        return {name: self.get(name) for name in NAMES if self.get(name) != other.get(name)}


NAMES = tuple(field.name for field in dataclasses.fields(Options))


@dataclass(slots=True)
class Scope:
    """The modifiers of one command line while it runs; its built-ins change them, rendering reads them."""

    options: Options
