"""Waiting for the next item with a deadline loses nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from megatools.hostkit.upcoming import END, Upcoming

pytestmark = pytest.mark.anyio


async def test_an_item_that_comes_late_is_not_lost() -> None:
    gate = asyncio.Event()

    async def items() -> AsyncIterator[int]:
        yield 1
        await gate.wait()
        yield 2

    async with aclosing(Upcoming(items())) as upcoming:
        assert await upcoming.next() == 1
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await upcoming.next(0.001)
        gate.set()
        assert await upcoming.next() == 2
        assert await upcoming.next() is END


async def test_an_iterator_that_fails_fails_here() -> None:
    async def items() -> AsyncIterator[int]:
        raise ValueError("broken")
        yield 1

    async with aclosing(Upcoming(items())) as upcoming:
        with pytest.raises(ValueError, match="broken"):
            await upcoming.next()


async def test_closing_ends_the_iterator_where_it_waits() -> None:
    ended: list[str] = []

    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    async with aclosing(Upcoming(items())) as upcoming:
        assert await upcoming.next() == 1
        with pytest.raises(TimeoutError):
            await upcoming.next(0.001)
    assert ended == ["ended"]
