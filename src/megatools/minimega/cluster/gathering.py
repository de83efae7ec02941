"""Answers of many hosts put together while they come: those that come together are shown together, late ones later.

Used where answers become response groups (`commands.services`, `sending`). Nobody waits for a slow host to see what
the quick ones said: after a moment without news, what is there is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from megatools.hostkit.upcoming import END, End, Upcoming

QUIET_S = 0.25
LONGEST_S = 1.0
_AHEAD = 64
T = TypeVar("T")


async def together(*many: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items of several iterators as they come; what one raises is raised."""
    if len(many) == 1:
        async with aclosing(_closable(many[0])) as only:
            async for one in only:
                yield one
        return
    arrived: asyncio.Queue[T | Exception | End] = asyncio.Queue(_AHEAD)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_hand_on(items, arrived)) for items in many]
        try:
            left = len(tasks)
            while left:
                item = await arrived.get()
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, End):
                    left -= 1
                else:
                    yield item
        finally:
            for task in tasks:
                task.cancel()


async def _closable(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The same items; closing it closes what they come from."""
    try:
        async for item in items:
            yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


async def _hand_on(items: AsyncIterator[T], arrived: asyncio.Queue[T | Exception | End]) -> None:
    """A failure is handed on too: it belongs to the one who takes the items."""
    try:
        async for item in items:
            await arrived.put(item)
    except Exception as error:  # noqa: BLE001 - raised again by the one who takes the items
        await arrived.put(error)
    else:
        await arrived.put(END)


async def batches(items: AsyncIterator[T], *, quiet_s: float = QUIET_S) -> AsyncGenerator[list[T], None]:
    """The items in lists, never empty: all that came until a moment without news, a longer while, or the end."""
    held: list[T] = []
    clock = _Clock()
    async with aclosing(Upcoming(items)) as upcoming:
        while True:
            try:
                item = await upcoming.next(clock.left_s(quiet_s) if held else None)
            except TimeoutError:
                yield held
                held = []
                continue
            if item is END:
                break
            if not held:
                clock = _Clock()
            held.append(item)
    if held:
        yield held


class _Clock:
    """How long something has been held back."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()

    def left_s(self, quiet_s: float) -> float:
        """How long to wait for more."""
        return max(0.0, min(quiet_s, self._since + LONGEST_S - self._loop.time()))
