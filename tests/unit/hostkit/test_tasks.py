"""Supervised tasks: one fails alone, all end with their owner."""

import asyncio
import logging

import pytest

from megatools.hostkit.tasks import Supervisor


def test_a_failing_task_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def scenario() -> tuple[str, ...]:
        survivor = asyncio.Event()
        async with Supervisor("net") as supervisor:
            failing = supervisor.start("first", fail())
            supervisor.start("second", survivor.wait())
            await failing
            return supervisor.running

    with caplog.at_level(logging.ERROR):
        assert asyncio.run(scenario()) == ("second",)
    assert 'background task "net: first" failed' in caplog.text
    assert "ValueError: broken" in caplog.text


def test_leaving_cancels_and_waits() -> None:
    events: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    async def scenario() -> None:
        async with Supervisor("x") as supervisor:
            supervisor.start("work", work())
            await asyncio.sleep(0)
        events.append("left")

    asyncio.run(scenario())
    assert events == ["cleaned up", "left"]


def test_an_error_in_the_block_comes_out_as_it_is() -> None:
    async def scenario() -> None:
        async with Supervisor("x") as supervisor:
            supervisor.start("forever", asyncio.Event().wait())
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(scenario())


def test_a_single_task_can_be_cancelled() -> None:
    async def scenario() -> None:
        async with Supervisor("x") as supervisor:
            task = supervisor.start("forever", asyncio.Event().wait())
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert supervisor.running == ()

    asyncio.run(scenario())


def test_nothing_starts_outside_the_block() -> None:
    async def scenario() -> None:
        supervisor = Supervisor("x")
        with pytest.raises(RuntimeError, match="not open"):
            supervisor.start("work", asyncio.Event().wait())

    asyncio.run(scenario())
