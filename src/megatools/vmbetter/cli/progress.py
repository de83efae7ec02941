"""The bar on a terminal: the stage at work, how much of it is done, for how long, and for how long still.

Called by the journal. It appears when a step takes longer than a glance, or counts something, and is taken away before
anything else is printed.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from megatools.vmbetter.events import Event


class Bar:
    """One bar, for one step of a build."""

    def __init__(self, stage: str) -> None:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[left]}", markup=False),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(stage, total=None, amount="", left="")
        self._progress.start()

    def show(self, event: Event) -> None:
        """Move on."""
        amount = f"{event.done} %" if event.text == "%" else f"{event.done}/{event.total} {event.text}"
        self._progress.update(self._task, completed=event.done, total=event.total, amount=amount, left="left")

    def end(self) -> None:
        """Take the bar away."""
        self._progress.stop()
