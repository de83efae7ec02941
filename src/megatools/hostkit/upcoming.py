"""Waiting a limited time for the next item of an asynchronous iterator, without losing it when it comes later.

`asyncio.timeout` around `anext` would cancel the iterator. One task takes the items, a few ahead of the one who reads:
a task for each item would cost more than most items do. Anyone may use it, within `contextlib.aclosing`, so that
nothing goes on waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Final, Generic, TypeVar

_AHEAD = 16

T = TypeVar("T")


class End(Enum):
    """What comes after the last item."""

    END = auto()


END: Final = End.END


class Upcoming(Generic[T]):
    """The items of an iterator, one by one, each awaited with a deadline of its own."""

    def __init__(self, items: AsyncIterator[T]) -> None:
        self._items = items
        self._ready: deque[T | End | _Failure] = deque()
        self._task: asyncio.Task[None] | None = None
        self._reader: asyncio.Future[bool] | None = None  # waits for an item: whether it came in time
        self._room = asyncio.Event()

    async def next(self, timeout_s: float | None = None) -> T | End:
        """The next item, or `END`. Raises TimeoutError when it takes longer, and whatever the iterator raises."""
        if self._task is None:
            self._task = asyncio.create_task(self._take())
        if not self._ready and not await self._comes(timeout_s):
            raise TimeoutError
        item = self._ready.popleft()
        self._room.set()
        if item is END or isinstance(item, _Failure):
            self._ready.append(END)
        if isinstance(item, _Failure):
            raise item.error
        return item

    async def aclose(self) -> None:
        """Stop waiting; the iterator is cancelled where it stands, and closed."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,))
        close = getattr(self._items, "aclose", None)
        if close is not None:
            await close()

    async def _comes(self, timeout_s: float | None) -> bool:
        loop = asyncio.get_running_loop()
        reader: asyncio.Future[bool] = loop.create_future()
        self._reader = reader
        late = None if timeout_s is None else loop.call_later(timeout_s, _settle, reader, False)
        try:
            return await reader
        finally:
            self._reader = None
            if late is not None:
                late.cancel()

    async def _take(self) -> None:
        try:
            async for item in self._items:
                self._add(item)
                while len(self._ready) >= _AHEAD:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # noqa: BLE001 - raised again by the one who reads
            self._add(_Failure(error))
        else:
            self._add(END)

    def _add(self, item: T | End | _Failure) -> None:
        self._ready.append(item)
        if self._reader is not None:
            _settle(self._reader, True)


class _Failure:
    """What the iterator raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _settle(reader: asyncio.Future[bool], came: bool) -> None:
    if not reader.done():
        reader.set_result(came)
