"""What comes together is shown together; nobody waits for the slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from megatools.minimega.cluster.gathering import batches

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
    async for batch in batches(_items(1, 2, slow, 3), quiet_s=0.01):
        seen.append(batch)
        slow.set()
    assert seen == [[1, 2], [3]]
