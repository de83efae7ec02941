"""Where a build's events go: plain lines, a bar on a terminal, JSON lines for programs, and a log file.

Called by the command line's commands. Lines and the bar go to standard error, JSON to standard output. A reader that
goes away does not end a build.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click
import msgspec

from megatools.hostkit.errors import MegaError, Unavailable, chain_text, hint_of
from megatools.hostkit.signals import Stopped
from megatools.vmbetter.events import Event, Kind

if TYPE_CHECKING:
    from megatools.vmbetter.cli.progress import Bar

LEVELS = ("debug", "info", "warn", "error", "fatal")
_GLANCE_S = 0.4  # a step that takes no longer gets no bar


class Journal:
    """What people, programs and files are told; to be used in a `with`, so that a bar is taken down."""

    def __init__(
        self, level: str, *, to_stderr: bool = True, logfile: Path | None = None, as_json: bool = False
    ) -> None:
        self._rank = LEVELS.index(level) if to_stderr else len(LEVELS)
        self._as_json = as_json
        self._bars = _Bars() if sys.stderr.isatty() and not as_json and self._rank == 1 else None
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
        if self._bars is not None:
            self._bars.end()
        if self._file is not None:
            self._file.close()  # each line was written when it came
        if isinstance(error, MegaError):
            self._json({"kind": "error", "text": chain_text(error), "hint": hint_of(error), "status": error.exit_code})
        elif isinstance(error, Stopped):
            self._json({"kind": "error", "text": f"ended by {error}", "hint": "", "status": error.exit_status})

    def report(self, event: Event) -> None:
        """Take one event of a build."""
        self._json(event)
        if event.kind is Kind.COUNT:
            if self._bars is not None:
                self._bars.count(event)
        else:
            self._line(event)

    def result(self, files: dict[str, Path], memory_mib: int) -> None:
        """The last word to a program: the results by their suffix, and the memory a machine needs to boot them."""
        named = {suffix: str(path) for suffix, path in files.items()}
        self._json({"kind": "result", "files": named, "memory_mib": memory_mib})

    def say(self, text: str) -> None:
        """A line about no stage of the build."""
        self.report(Event(Kind.STEP, "vmbetter", text))

    def _json(self, row: object) -> None:
        if self._as_json:
            _print(msgspec.json.encode(row).decode(), to_stderr=False)

    def _line(self, event: Event) -> None:
        named = "warning" if event.kind is Kind.WARNING else event.stage
        line = (
            event.text
            if event.kind is Kind.OUTPUT
            else f"vmbetter: [{time.monotonic() - self._began:5.1f} s] {named}: {event.text}"
        )
        needed = {Kind.OUTPUT: 0, Kind.WARNING: 2}.get(event.kind, 1)
        if self._bars is not None and event.kind is not Kind.OUTPUT:
            self._bars.end()
        if self._rank <= needed and not self._as_json:
            _print(line, to_stderr=True)
        if self._bars is not None and event.kind is Kind.STEP:
            self._bars.begin(event.stage)
        if self._file is not None:
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:  # a full disk: the build goes on without
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Go on without a log file."""
        assert self._file is not None
        name = self._file.name
        with contextlib.suppress(OSError):  # the same error again: for what was not written
            self._file.close()
        self._file = None
        self.report(Event(Kind.WARNING, "vmbetter", f'log file "{name}" cannot be written: {chain_text(error)}'))


class _Bars:
    """The bar of the step at work, if it has one yet; a thread of its own begins it after a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._stage = ""
        self._timer: threading.Timer | None = None

    def begin(self, stage: str) -> None:
        """A step begins."""
        self._stage = stage
        self._timer = threading.Timer(_GLANCE_S, self._show, (self._stage,))
        self._timer.daemon = True
        self._timer.start()

    def _show(self, stage: str) -> None:
        with self._lock:
            if self._bar is None and self._stage == stage:
                self._bar = _bar(stage)

    def count(self, event: Event) -> None:
        """The step counts."""
        with self._lock:
            self._stage = event.stage
            self._bar = self._bar or _bar(event.stage)
            self._bar.show(event)

    def end(self) -> None:
        """The step is done."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._stage = ""
            if self._bar is not None:
                self._bar.end()
                self._bar = None


def _bar(stage: str) -> Bar:
    from megatools.vmbetter.cli import progress  # only where a bar is drawn: half of the program's start

    return progress.Bar(stage)


def _print(line: str, *, to_stderr: bool) -> None:
    with contextlib.suppress(BrokenPipeError):
        click.echo(line, err=to_stderr)
