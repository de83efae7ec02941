"""What a build tells while it runs. Called by the stages; read by the command line, or anybody who builds."""

from __future__ import annotations

import enum
from collections.abc import Callable

import msgspec


class Kind(enum.Enum):
    """What an event is: a step begins, a count moves on, a warning, a program's output, a result is there."""

    STEP = "step"
    COUNT = "count"
    WARNING = "warning"
    OUTPUT = "output"
    DONE = "done"


class Event(msgspec.Struct, frozen=True):
    """One event of a stage; `done` of `total` are for counts only, whose text says of what: packages, or %."""

    kind: Kind
    stage: str
    text: str = ""
    done: int = 0
    total: int = 0


Report = Callable[[Event], None]


def silent(event: Event) -> None:
    """Tell nobody."""


def printable(text: str) -> str:
    """A text as UTF-8 can have it: a file's name may be any bytes."""
    return text.encode(errors="backslashreplace").decode()


class Reporter:
    """Says events of a stage."""

    def __init__(self, report: Report) -> None:
        self._told = report

    def _report(self, event: Event) -> None:
        self._told(msgspec.structs.replace(event, text=printable(event.text)))

    def step(self, stage: str, text: str) -> None:
        """A step begins, or is not needed."""
        self._report(Event(Kind.STEP, stage, text))

    def count(self, stage: str, done: int, total: int, unit: str = "packages") -> None:
        """So much of the step is done; the unit may be "%"."""
        self._report(Event(Kind.COUNT, stage, unit, done, total))

    def warn(self, stage: str, text: str) -> None:
        """Something the user should know; the build goes on."""
        self._report(Event(Kind.WARNING, stage, text))

    def output(self, stage: str, text: str) -> None:
        """A program printed this."""
        self._report(Event(Kind.OUTPUT, stage, text))

    def done(self, stage: str, text: str) -> None:
        """A result is where it was wanted."""
        self._report(Event(Kind.DONE, stage, text))
