"""Answers of many hosts put together while they come: those that come together are shown together, late ones later.

Used where answers become response groups (`commands.services`, `sending`). Nobody waits for a slow host to see what
the quick ones said: after a moment without news, what is there is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from megatools.hostkit.upcoming import END, Upcoming

QUIET_S = 0.25
LONGEST_S = 1.0
T = TypeVar("T")


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
