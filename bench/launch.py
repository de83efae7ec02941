"""Launching: 100 lean VMs to paused through the command socket, against the same command lines started one by one.

The reference starts each QEMU after the other, dials its monitor every 5 ms until it answers and runs one
`ovs-vsctl add-port` per VM. Both happen in a network namespace with an Open vSwitch of their own. Meanwhile `vm info`
and `version` are asked every 20 ms on a second socket, and memory and the daemon's own CPU time are read from /proc.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.promise import Options, Result
from tests.support.daemon import Daemon
from tests.support.lab import Lab, daemon_in_lab

VMS = 100
ROUNDS = 5
_ASK_EVERY_S = 0.020
_IDLE_S = 4.0
_CONFIG = ("vm config memory 128", "vm config vga none", "vm config networks 1")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Samples:
    """What was seen in one round of ours."""

    wall_s: float = 0.0
    pss_mib: float = 0.0
    asked_ms: list[float] = field(default_factory=list)


def run(options: Options) -> Iterable[Result]:
    """The promises of launching."""
    rounds = options.rounds or ROUNDS
    with daemon_in_lab() as (daemon, where):
        daemon.start()
        for line in _CONFIG:
            daemon.ask(line)
        daemon.ask("vm launch kvm 1")  # bridge made, page cache warm
        argv = _argv_of(daemon.qemus()[0])
        _clear(daemon)
        idle_ms = _ask_for(daemon, _IDLE_S)
        ours: list[Samples] = []
        theirs: list[float] = []
        for _ in range(rounds):
            ours.append(_ours(daemon))
            theirs.append(_reference(where, daemon, argv))
        cpu_ms = statistics.median(_cpu_ms_per_vm(daemon) for _ in range(min(rounds, 3)))
    yield from _results(ours, theirs, idle_ms, cpu_ms)


def _results(ours: list[Samples], theirs: list[float], idle_ms: list[float], cpu_ms: float) -> Iterator[Result]:
    wall = statistics.median(sample.wall_s for sample in ours)
    reference = statistics.median(theirs)
    walls = ", ".join(f"{sample.wall_s:.1f}/{other:.1f}" for sample, other in zip(ours, theirs, strict=True))
    yield Result(
        "launch: VMs to paused", VMS / wall, "VMs/s", VMS / reference, reference / wall, 2.0, True, f"s: {walls}"
    )
    pss = statistics.median(sample.pss_mib for sample in ours)
    yield Result("launch: mean PSS of a paused VM", pss, "MB", 0, 0, 18.0, False)
    yield Result("launch: daemon CPU per VM", cpu_ms, "ms", 0, 0, 10.0, False)
    busy = [_p99(sample.asked_ms) for sample in ours]
    idle = _p99(idle_ms)
    limit = max(50.0, 5 * idle)
    note = f"limit: 50 ms or 5x idle ({idle:.1f} ms); rounds: {', '.join(f'{ms:.0f}' for ms in busy)}"
    yield Result("launch: p99 of other commands", statistics.median(busy), "ms", 0, 0, limit, False, note)


def _ours(daemon: Daemon) -> Samples:
    samples = Samples()
    stop = threading.Event()
    asker = threading.Thread(target=_ask_until, args=(daemon, stop, samples.asked_ms))
    asker.start()
    started = time.monotonic()
    try:
        daemon.ask(f"vm launch kvm {VMS}")
        samples.wall_s = time.monotonic() - started
    finally:
        stop.set()
        asker.join()
    pids = daemon.qemus()
    assert len(pids) == VMS, f"{len(pids)} VMs run, not {VMS}"
    samples.pss_mib = statistics.mean(_pss_mib(pid) for pid in pids)
    _clear(daemon)
    return samples


def _clear(daemon: Daemon) -> None:
    daemon.ask("vm kill all")
    daemon.ask("vm flush")


def _cpu_ms_per_vm(daemon: Daemon) -> float:
    """The daemon's CPU time for one launch of all VMs, with nobody asking anything meanwhile."""
    before = _cpu_s(daemon.pid)
    daemon.ask(f"vm launch kvm {VMS}")
    spent_s = _cpu_s(daemon.pid) - before
    _clear(daemon)
    return spent_s * 1000 / VMS


def _ask_for(daemon: Daemon, seconds: float) -> list[float]:
    found: list[float] = []
    stop = threading.Event()
    asker = threading.Thread(target=_ask_until, args=(daemon, stop, found))
    asker.start()
    time.sleep(seconds)  # the length of the measurement itself
    stop.set()
    asker.join()
    return found


def _ask_until(daemon: Daemon, stop: threading.Event, found: list[float]) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        with client.makefile("rb") as stream:
            turn = 0
            while not stop.is_set():
                line = ("vm info", "version")[turn % 2]
                turn += 1
                started = time.monotonic()
                client.sendall(json.dumps({"Command": line}).encode() + b"\n")
                while json.loads(stream.readline())["More"]:
                    pass
                took = time.monotonic() - started
                found.append(took * 1000)
                stop.wait(max(0.0, _ASK_EVERY_S - took))


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98] if len(values) > 1 else 0.0


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _pss_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no PSS for process {pid}")


def _argv_of(pid: int) -> list[str]:
    return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]


def _reference(where: Lab, daemon: Daemon, argv: list[str]) -> float:
    vsctl = ["ovs-vsctl", f"--db=unix:{daemon.base}/ovs/db.sock"]
    asked = json.dumps({"argv": argv, "vsctl": vsctl, "count": VMS})
    program = [*where.prefix, sys.executable, "-m", "bench.launch_reference"]
    done = subprocess.run(program, input=asked.encode(), stdout=subprocess.PIPE, check=True, timeout=600)
    return float(done.stdout)
