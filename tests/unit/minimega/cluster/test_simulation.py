"""The simulation of a large cluster, small: every VM is placed, launched and listed."""

from __future__ import annotations

import pytest

from bench.simulate import simulate

pytestmark = pytest.mark.anyio


async def test_a_small_cluster_is_simulated_whole() -> None:
    phases = await simulate(300, 10)
    assert list(phases.seconds) == ["place and launch", "list all"]
    assert list(phases.before) == ["queued", "placing alone"]
    assert 0 < phases.total_s == sum(phases.seconds.values())
