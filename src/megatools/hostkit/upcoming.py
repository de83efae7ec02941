"""Waiting a limited time for the next item of an asynchronous iterator, without losing it when it comes later.

`asyncio.timeout` around `anext` would cancel the iterator. Anyone may use it, within `contextlib.aclosing`, so that
nothing goes on waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class End(Enum):
    """What comes after the last item."""

    END = auto()


END: Final = End.END


class Upcoming(Generic[T]):
    """The items of an iterator, one by one, each awaited with a deadline of its own."""

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items
        self._next: asyncio.Task[T | End] | None = None

    async def next(self, timeout_s: float | None = None) -> T | End:
        """The next item, or `END`. Raises TimeoutError when it takes longer, and whatever the iterator raises."""
        if self._next is None:
            self._next = asyncio.create_task(_next(self._items))
        done, _ = await asyncio.wait((self._next,), timeout=timeout_s)
        if not done:
            raise TimeoutError
        task, self._next = self._next, None
        return task.result()

    async def aclose(self) -> None:
        """Stop waiting; the iterator is cancelled where it stands, and closed."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait((self._next,))
            self._next = None
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()


async def _next(items: AsyncIterator[T]) -> T | End:
    return await anext(items, END)
