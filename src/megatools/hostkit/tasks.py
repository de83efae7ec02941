"""Background tasks with a name, an owner and an end (R6: no orphan tasks).

Whoever owns a component opens a `Supervisor` around it and starts the component's loops there. A task that fails is
logged with its traceback and does not end the others; leaving the block cancels what still runs and waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Self

_log = logging.getLogger(__name__)
_PATIENCE_S = 10.0


class Supervisor:
    """A group of named background tasks; one fails alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise RuntimeError(f"supervisor {self.name!r} is already open")
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        assert group is not None
        for task in self._tasks:
            task.cancel()
        if self._tasks and kind is None:
            _, late = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
            if late:
                names = ", ".join(sorted(task.get_name() for task in late))
                _log.warning("%s: still waiting for tasks that do not end: %s", self.name, names)
        try:
            await group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as failures:  # tasks log their failures: what is here is the block's own error
            if any(failure is not error for failure in failures.exceptions):
                raise

    def start(self, name: str, work: Coroutine[object, object, object]) -> asyncio.Task[None]:
        """Run a coroutine in the background until it ends or this block is left; the task returned can be cancelled.

        Its result is dropped and its failure logged. Raises RuntimeError outside the block.
        """
        if self._group is None:
            work.close()
            raise RuntimeError(f"supervisor {self.name!r} is not open: cannot start {name!r}")
        task = self._group.create_task(self._guard(name, work), name=f"{self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Cancelled before its first step, the guard would never reach the coroutine: close it, or Python warns of it.
        task.add_done_callback(lambda _: work.close())
        return task

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the tasks that have not ended, sorted."""
        return tuple(sorted(task.get_name().removeprefix(f"{self.name}: ") for task in self._tasks))

    async def _guard(self, name: str, work: Coroutine[object, object, object]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - the task boundary (R5): a failing task is logged, the others go on
            _log.exception('background task "%s: %s" failed', self.name, name)
