"""A hundred VMs over four hosts: what launching them costs, against local launches.

The reference is the CPU time of the four daemons, engines included, when each launches its 25 VMs by itself, added up.
Ours is that of the same four when the same VMs, held and lean, are launched over a namespace of the four hosts. The
driver's own part is shown beside it. Part of the benchmark `cluster`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.promise import Result
from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.enrolling import enrol

HOSTS = 4
VMS = 100
ROUNDS = 5
_CONFIG = ("vm config memory 64", "vm config vga none", "vm config networks 1")


@dataclass(frozen=True)
class Cost:
    """Seconds of wall time, and of CPU by daemon, engines included."""

    wall_s: float
    cpu_s: tuple[float, ...]


def launches(rounds: int | None = None) -> Iterable[Result]:
    """The promise about launches over hosts."""
    with cluster(HOSTS) as found:
        found.start()
        enrol(found)
        _prepare(found)
        local: list[Cost] = []
        spread: list[Cost] = []
        for _ in range(rounds or ROUNDS):
            local.append(_local(found))
            spread.append(_spread(found))
    sums = statistics.median(sum(cost.cpu_s) for cost in local)
    driver = statistics.median(cost.cpu_s[0] for cost in spread)
    total = statistics.median(sum(cost.cpu_s) for cost in spread)
    walls = [statistics.median(cost.wall_s for cost in costs) for costs in (spread, local)]
    note = f"driver {driver:.2f} s; wall {walls[0]:.1f} s, each by itself {walls[1]:.1f} s"
    yield Result("cluster: 100 VMs over 4 hosts, CPU of all daemons", total, "s", sums, total / sums, 1.1, False, note)


def _prepare(found: Cluster) -> None:
    names = ",".join(found.names)
    first = found.daemons[0]
    first.ask(f"namespace lab ns add-hosts {names}")
    for line in _CONFIG:
        first.ask(f"namespace lab {line}")
        found.ask_all(line)
    found.ask_all("vm launch kvm 1")  # bridges made, page cache warm
    found.ask_all("clear namespace minimega")
    for line in _CONFIG:
        found.ask_all(line)


def _local(found: Cluster) -> Cost:
    cost = _measured(found, lambda: found.ask_all(f"vm launch kvm {VMS // HOSTS}"))
    found.ask_all("vm kill all")
    found.ask_all("vm flush")
    return cost


def _spread(found: Cluster) -> Cost:
    first = found.daemons[0]
    cost = _measured(found, lambda: first.ask(f"namespace lab vm launch kvm {VMS}"))
    rows = first.rows("namespace lab vm info summary")
    assert len(rows) == VMS, f"{len(rows)} of {VMS} VMs"
    first.ask("namespace lab vm kill all")
    first.ask("namespace lab vm flush")
    return cost


def _measured(found: Cluster, work: Callable[[], object]) -> Cost:
    before = [_cpu_s(found, index) for index in range(HOSTS)]
    began = time.monotonic()
    work()
    wall_s = time.monotonic() - began
    return Cost(wall_s, tuple(_cpu_s(found, index) - was for index, was in enumerate(before)))


def _cpu_s(found: Cluster, index: int) -> float:
    daemon: Daemon = found.daemons[index]
    pids = [daemon.pid, *found.engines(index)]
    return sum(time.clock_gettime(_clock_of(pid)) for pid in dict.fromkeys(pids))


def _clock_of(pid: int) -> int:
    """The clock of the CPU time of a process, in nanoseconds (clock_getcpuclockid(3)); /proc counts hundredths."""
    return (~pid << 3) | 2
