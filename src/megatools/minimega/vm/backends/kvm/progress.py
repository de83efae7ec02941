"""Whether a guest that was just started gets anywhere: on some hosts KVM opens and then hangs every guest.

Used by `instance` at the first start under KVM. There is no event for "the first instruction ran", so the
counters are read a few times within the deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from megatools.hostkit.errors import CommandFailed
from megatools.hostkit.qemu.qmp import Monitor

ENOUGH_EXITS = 16  # firmware makes thousands within milliseconds; a hung vCPU makes none
ENOUGH_CPU_NS = 1_000_000
_LOOK_EVERY_S = 0.05
_QUERY = {"target": "vcpu", "providers": [{"provider": "kvm", "names": ["exits"]}]}


def exits_in(stats: object) -> int | None:
    """The sum of the vCPUs' exits in the answer of `query-stats`; None when it holds none. Pure."""
    total: int | None = None
    for result in mappings(stats):
        for item in mappings(result.get("stats")):
            value = item.get("value")
            if item.get("name") == "exits" and isinstance(value, int):
                total = (total or 0) + value
    return total


def mappings(value: object) -> Sequence[Mapping[str, object]]:
    """The objects in a list of QMP's; pure."""
    if not isinstance(value, list):
        return []
    return [cast(Mapping[str, object], item) for item in cast(list[object], value) if isinstance(item, dict)]


def vcpu_ns(pid: int, threads: Iterable[int]) -> int:
    """CPU time of some threads of a process in nanoseconds (schedstat); threads that ended count nothing."""
    total = 0
    for thread in threads:
        try:
            total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return total


async def makes_progress(monitor: Monitor, pid: int, timeout_s: float) -> bool:
    """Whether the guest's processors do something within the deadline."""
    cpus = await monitor.ask("query-cpus-fast")
    threads = [thread for cpu in mappings(cpus) if isinstance(thread := cpu.get("thread-id"), int)]
    before_ns = vcpu_ns(pid, threads)
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        exits = await _exits(monitor)
        if exits is not None and exits >= ENOUGH_EXITS:
            return True
        if exits is None and vcpu_ns(pid, threads) - before_ns >= ENOUGH_CPU_NS:
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_LOOK_EVERY_S)


async def _exits(monitor: Monitor) -> int | None:
    try:
        return exits_in(await monitor.ask("query-stats", _QUERY))
    except CommandFailed:  # QEMU before 7.1, or a kernel without these statistics
        return None
