"""Background tasks with a name, an owner and an end (R6: no orphan tasks).

Whoever owns a component opens a `Supervisor` around it and starts the component's loops there. A task that fails is
logged with its traceback and does not end the others; leaving the block cancels what still runs and waits for it. What
must go on as long as the daemon does is kept (`Supervisor.keep`): it begins again after a failure, later and later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Self

from megatools.hostkit.errors import MegaError, chain_text

_log = logging.getLogger(__name__)
_PATIENCE_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0


class Supervisor:
    """A group of named background tasks; one fails alone."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: dict[asyncio.Task[None], Coroutine[object, object, object]] = {}

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError(f"supervisor {self.name!r} is already open")
        self._loop = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop = None
        for task in self._tasks:
            task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                _, late = await asyncio.wait(self._tasks, timeout=_PATIENCE_S)
            except asyncio.CancelledError as again:  # no task is left behind, whoever is in a hurry
                cancelled = again
                continue
            if late:
                names = ", ".join(sorted(task.get_name() for task in late))
                _log.warning("%s: still waiting for tasks that do not end: %s", self.name, names)
        if cancelled is not None:
            raise cancelled

    def start(self, name: str, work: Coroutine[object, object, object]) -> asyncio.Task[None]:
        """Run a coroutine in the background until it ends or this block is left; the task returned can be cancelled.

        Its result is dropped and its failure logged. Raises RuntimeError outside the block.
        """
        if self._loop is None:
            work.close()
            raise RuntimeError(f"supervisor {self.name!r} is not open: cannot start {name!r}")
        task = self._loop.create_task(self._guard(name, work), name=f"{self.name}: {name}")
        self._tasks[task] = work
        task.add_done_callback(self._ended)
        return task

    def keep(self, name: str, make: Callable[[], Coroutine[object, object, object]]) -> asyncio.Task[None]:
        """Run what `make` makes in the background until it ends by itself; when it fails, again after a pause.

        For loops, which a full disk must not end for good, and for what must be done once, however late.
        """
        return self.start(name, self._again_and_again(name, make))

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the tasks that have not ended, sorted."""
        return tuple(sorted(task.get_name().removeprefix(f"{self.name}: ") for task in self._tasks))

    async def _again_and_again(self, name: str, make: Callable[[], Coroutine[object, object, object]]) -> None:
        loop = asyncio.get_running_loop()
        pause_s, told = _FIRST_PAUSE_S, ""
        while True:
            began = loop.time()
            try:
                await make()
            except Exception as error:  # noqa: BLE001 - the task boundary (R5): it is logged, and begins again
                if loop.time() - began > _LONGEST_PAUSE_S:
                    pause_s, told = _FIRST_PAUSE_S, ""
                told = self._tell(name, error, pause_s, told)
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _tell(self, name: str, error: Exception, pause_s: float, told: str) -> str:
        """Log a failure: a bug with its traceback, what is to blame outside in a line, and neither again and again."""
        text = chain_text(error)
        level = logging.INFO if text == told else logging.WARNING if is_outside(error) else logging.ERROR
        trace = None if is_outside(error) else error
        _log.log(level, "%s: %s failed: %s; again in %g s", self.name, name, text, pause_s, exc_info=trace)
        return text

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task).close()  # cancelled before its first step, nothing reached it: Python would warn of it

    async def _guard(self, name: str, work: Coroutine[object, object, object]) -> None:
        try:
            await work
        except Exception:  # noqa: BLE001 - the task boundary (R5): a failing task is logged, the others go on
            _log.exception('background task "%s: %s" failed', self.name, name)


async def set_within(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until an event is set; whether it was in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False


def is_outside(error: BaseException) -> bool:
    """Whether a failure is not a bug of ours: the disk, the system or another program refused something."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_outside(each) for each in error.exceptions)
    return isinstance(error, (MegaError, OSError))
