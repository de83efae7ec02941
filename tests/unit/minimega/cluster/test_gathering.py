"""What comes together is shown together; nobody waits for the slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest

from megatools.hostkit.errors import Unavailable
from megatools.hostkit.upcoming import END, End
from megatools.minimega.cluster import gathering
from megatools.minimega.cluster.gathering import batches, together

pytestmark = pytest.mark.anyio


async def _items(*items: int | asyncio.Event) -> AsyncIterator[int]:
    for item in items:
        if isinstance(item, asyncio.Event):
            await item.wait()
        else:
            yield item


async def test_what_is_there_at_once_is_one_batch() -> None:
    assert [batch async for batch in batches(_items(1, 2, 3))] == [[1, 2, 3]]


async def test_nothing_is_no_batch() -> None:
    assert [batch async for batch in batches(_items())] == []


async def test_a_slow_one_comes_after_the_others_were_shown() -> None:
    slow = asyncio.Event()
    seen: list[list[int]] = []
    async for batch in batches(_items(1, 2, slow, 3), shortest_s=0.01):
        seen.append(batch)
        slow.set()
    assert seen == [[1, 2], [3]]


async def test_the_moment_is_as_long_as_the_quick_ones_took_and_longer_for_a_single_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    waits: list[float | None] = []

    class Timed:
        """Items that come after seconds; what is waited for them is noted."""

        def __init__(self, items: AsyncIterator[float]) -> None:
            self._items = items

        async def next(self, timeout_s: float | None = None) -> float | End:
            nonlocal now
            waits.append(timeout_s)
            item = await anext(self._items, END)
            now += 0.0 if isinstance(item, End) else item
            return item

        async def aclose(self) -> None:
            """Nothing waits."""

    monkeypatch.setattr(gathering, "Upcoming", Timed)

    async def came(*seconds: float) -> AsyncIterator[float]:
        for each in seconds:
            yield each

    assert [batch async for batch in batches(came(0.01, 0.01, 0.01))] == [[0.01, 0.01, 0.01]]
    assert waits == [None, pytest.approx(0.25), pytest.approx(0.05), pytest.approx(0.05)]
    waits.clear()
    assert len([batch async for batch in batches(came(0.0, 0.15, 0.1))]) == 1
    assert waits == [None, pytest.approx(0.25), pytest.approx(0.15), pytest.approx(0.25)]
    waits.clear()
    assert len([batch async for batch in batches(came(5.0, 0.0, 0.2))]) == 1
    assert waits == [None, *[pytest.approx(0.25)] * 3]


async def _source(closed: list[str], name: str, *items: int | Exception) -> AsyncGenerator[int, None]:
    try:
        for item in items:
            if isinstance(item, Exception):
                raise item
            yield item
        await asyncio.Event().wait()
    finally:
        closed.append(name)


async def test_what_a_source_raises_comes_out_as_it_is_and_the_others_are_closed() -> None:
    closed: list[str] = []
    seen: list[int] = []
    full = Unavailable("cannot write the journal", hint="is the disk full?")
    with pytest.raises(Unavailable) as raised:
        async for item in together(_source(closed, "a", 1), _source(closed, "b", 2, full)):
            seen.append(item)
    assert raised.value is full
    assert sorted(seen) == [1, 2] and sorted(closed) == ["a", "b"]


async def test_who_has_heard_enough_goes_and_nothing_is_left_behind() -> None:
    closed: list[str] = []
    before = asyncio.all_tasks()
    async with aclosing(together(_source(closed, "a", *range(200)), _source(closed, "b", 2))) as items:
        assert await anext(items) in (0, 2)
    assert sorted(closed) == ["a", "b"]
    assert asyncio.all_tasks() == before
