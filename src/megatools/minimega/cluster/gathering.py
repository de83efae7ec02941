"""Answers of many hosts put together while they come: those that come together are shown together, late ones later.

Used where answers become response groups (`commands.services`, `sending`). Nobody waits for a slow host to see what
the quick ones said: after a moment without news, what is there is shown. That moment is as long as the last of them
took, within limits; a single one says nothing of how long others take, for it may be this host's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from megatools.hostkit.upcoming import END, End, Upcoming

QUIET_S, LONGEST_QUIET_S = 0.05, 0.25
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
    tasks = [asyncio.create_task(_hand_on(items, arrived)) for items in many]  # a group would wrap what is raised
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
        await asyncio.gather(*tasks, return_exceptions=True)


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
        async with aclosing(_closable(items)) as closed:
            async for item in closed:
                await arrived.put(item)
    except Exception as error:  # noqa: BLE001 - raised again by the one who takes the items
        await arrived.put(error)
    else:
        await arrived.put(END)


async def batches(
    items: AsyncIterator[T], *, shortest_s: float = QUIET_S, longest_s: float = LONGEST_QUIET_S
) -> AsyncGenerator[list[T], None]:
    """The items in lists, never empty: all that came until a moment without news, a longer while, or the end."""
    held: list[T] = []
    asked, first, has_shown, quiet_s = _Clock(), _Clock(), False, longest_s
    async with aclosing(Upcoming(items)) as upcoming:
        while True:
            try:
                item = await upcoming.next(first.left_s(quiet_s) if held else None)
            except TimeoutError:
                yield held
                held, has_shown = [], True
                continue
            if item is END:
                break
            first = first if held else _Clock()
            held.append(item)
            is_single = len(held) == 1 and not has_shown
            quiet_s = longest_s if is_single else min(max(shortest_s, asked.passed_s()), longest_s)
    if held:
        yield held


class _Clock:
    """How long ago something was."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()

    def left_s(self, quiet_s: float) -> float:
        """How long to wait for more, when the first came then."""
        return max(0.0, min(quiet_s, LONGEST_S - self.passed_s()))

    def passed_s(self) -> float:
        """How long."""
        return self._loop.time() - self._since
