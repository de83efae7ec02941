"""The traffic of a host: measured since an earlier look, and watched for a moment only when there was none."""

from __future__ import annotations

import pytest

from megatools.hostkit import facts
from megatools.hostkit.facts import Traffic
from megatools.minimega.cluster import host_facts
from megatools.minimega.cluster.host_facts import HostFacts
from megatools.minimega.vm.rooms import Capacity

pytestmark = pytest.mark.anyio


class _Nobody:
    """A host without VMs."""

    def capacity(self) -> Capacity:
        return Capacity("kn1", 4, 1024)


async def test_only_the_first_of_several_looks_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        waited.append(round(seconds, 3))
        now_s += seconds

    monkeypatch.setattr(facts, "traffic", lambda: Traffic(int(now_s * 1e6), 0, now_s))  # 1 MB/s
    monkeypatch.setattr(host_facts.asyncio, "sleep", sleep)
    looks = HostFacts(_Nobody())
    now_s += 0.05
    for _ in range(3):
        assert (await looks.row()).rx == "1.00"
        now_s += 0.01
    assert waited == [0.15]
    now_s += 10
    assert (await looks.row()).rx == "1.00"
    now_s += 1000
    assert (await looks.row()).rx == "1.00"
    assert waited == [0.15, 0.2], "the last reading was too long ago"
