"""The engine's keeper goes on after whatever this host refuses it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import engine_keeper, frames
from megatools.minimega.mesh.engine_keeper import EngineKeeper
from megatools.minimega.mesh.plan import MeshPlan
from megatools.minimega.mesh.standing import AlwaysOpen, Standing


class Nobody:
    """Satisfies `Owner`: hears nothing."""

    def __init__(self) -> None:
        self.standings: list[str] = []

    def hear(self, frame: frames.FromEngine) -> None:
        """Not here."""

    async def begin(self, standing: Standing, host: str) -> None:
        """Note it."""
        del host
        self.standings.append(standing.security)

    def down(self) -> None:
        """Nothing was up."""

    def busy(self) -> bool:
        """Never."""
        return False

    def linked(self) -> bool:
        """Never."""
        return False

    def peers(self) -> Sequence[str]:
        """Nobody."""
        return ()


@pytest.mark.anyio
async def test_no_descriptors_left_is_a_reason_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_keeper, "_FIRST_PAUSE_S", 0.0)
    asked: list[str] = []

    def address() -> str:
        asked.append(keeper.trouble)
        if len(asked) == 1:
            raise OSError(24, "Too many open files")
        if len(asked) == 2:
            raise ExceptionGroup("watched", [OSError(24, "Too many open files")])
        return ""

    plan = MeshPlan("kn1", AlwaysOpen(), own_address=address)
    keeper = EngineKeeper(plan, Nobody())
    async with Supervisor("test") as supervisor:
        keeping = supervisor.start("mesh", keeper.keep())
        async with asyncio.timeout(10):
            while len(asked) < 3:
                await asyncio.sleep(0)
        assert not keeping.done()
    assert asked == ["starting", "too many open files", "too many open files"]
