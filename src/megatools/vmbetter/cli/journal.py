"""Where a build's events go: plain lines, a bar on a terminal, JSON lines, and a log file.

Called by the command line's commands.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import click
import msgspec

from megatools.hostkit.errors import Unavailable
from megatools.vmbetter.events import Event, Kind

LEVELS = ("debug", "info", "warn", "error", "fatal")


class Journal:
    """What people, programs and files are told; to be used in a `with`, so that a bar is taken down."""

    def __init__(
        self, level: str, *, to_stderr: bool = True, logfile: Path | None = None, as_events: bool = False
    ) -> None:
        self._rank = LEVELS.index(level) if to_stderr else len(LEVELS)
        self._as_events = as_events
        self._bar: _Progress | None = None
        self._wants_bar = sys.stderr.isatty() and not as_events and self._rank == 1
        try:
            self._file = logfile.open("a") if logfile else None
        except OSError as error:
            raise Unavailable(f'cannot write log file "{logfile}"') from error
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_bar()

    def report(self, event: Event) -> None:
        """Take one event of a build."""
        if self._as_events:
            click.echo(msgspec.json.encode(event).decode(), err=True)
        elif event.kind is Kind.COUNT:
            if self._wants_bar:
                self._bar = self._bar or _Progress()
                self._bar.show(event)
        else:
            self._line(event)

    def say(self, text: str) -> None:
        """A line about no stage of the build."""
        self.report(Event(Kind.STEP, "vmbetter", text))

    def _line(self, event: Event) -> None:
        named = "warning" if event.kind is Kind.WARNING else event.stage
        line = (
            event.text
            if event.kind is Kind.OUTPUT
            else f"vmbetter: [{time.monotonic() - self._began:5.1f} s] {named}: {event.text}"
        )
        needed = {Kind.OUTPUT: 0, Kind.WARNING: 2}.get(event.kind, 1)
        if event.kind is not Kind.OUTPUT:
            self._end_bar()
        if self._rank <= needed:
            click.echo(line, err=True)
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.end()
            self._bar = None


class _Progress:
    """A bar with the stage, how much is done, and the time left."""

    def __init__(self) -> None:
        from rich.console import Console  # only where a bar is drawn: half of the program's start
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task("", total=None)
        self._progress.start()

    def show(self, event: Event) -> None:
        """Move on."""
        self._progress.update(self._task, description=event.stage, completed=event.done, total=event.total)

    def end(self) -> None:
        """Take the bar away."""
        self._progress.stop()
