"""Supervised tasks: one fails alone, all end with their owner."""

import asyncio
import logging
from collections.abc import Callable, Coroutine

import pytest

from megatools.hostkit import tasks
from megatools.hostkit.errors import Unavailable
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


def _failing(*failures: Exception) -> tuple[list[int], Callable[[], Coroutine[None, None, None]]]:
    """Work that fails so often, then does not; and a list that grows with every try."""
    tries: list[int] = []

    async def work() -> None:
        tries.append(len(tries))
        if len(tries) <= len(failures):
            raise failures[len(tries) - 1]

    return tries, work


def test_what_is_kept_begins_again_after_whatever_failure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_FIRST_PAUSE_S", 0.0)
    many = ExceptionGroup("many", [Unavailable("no room", hint="free some"), OSError(24, "Too many open files")])
    full = Unavailable("no room")
    tries, work = _failing(full, full, many, ValueError("broken"))

    async def scenario() -> None:
        async with Supervisor("net") as supervisor:
            await supervisor.keep("loop", work)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert len(tries) == 5, "and not again once it has ended by itself"
    assert [record.message for record in caplog.records] == [
        "net: loop failed: no room; again in 0 s",
        "net: loop failed: no room; too many open files; again in 0 s",
        "net: loop failed: broken; again in 0 s",
    ], "the same is said once"
    assert "ValueError: broken" in caplog.text and caplog.text.count("Traceback") == 1, "only a bug has a traceback"


def test_what_is_kept_fails_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def scenario() -> None:
        _, work = _failing(*(Unavailable("no room") for _ in range(9)))
        async with Supervisor("net") as supervisor:
            monkeypatch.setattr(asyncio, "sleep", pause)
            await supervisor.keep("loop", work)

    asyncio.run(scenario())
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
