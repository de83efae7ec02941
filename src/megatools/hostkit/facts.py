"""What this machine is and how busy it is, read from /proc; anyone may ask.

Source: proc(5), sections /proc/loadavg, /proc/meminfo, /proc/net/dev, /proc/uptime.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Memory in MiB; used is what neither is free nor could be freed at once (total - available)."""

    total_mib: int
    used_mib: int


@dataclass(frozen=True)
class Traffic:
    """Bytes moved by all interfaces but loopback since boot, and when that was read (monotonic seconds)."""

    received: int
    sent: int
    at_s: float


def host_name() -> str:
    """The name this host answers under."""
    return platform.node() or "localhost"


def cpu_count() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def load_averages() -> tuple[float, float, float]:
    """Runnable processes on average over 1, 5 and 15 minutes."""
    return os.getloadavg()


def memory() -> Memory:
    """How much memory there is and how much is in use."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0])
    total = values["MemTotal"]
    return Memory(total // 1024, (total - values["MemAvailable"]) // 1024)


def uptime_s() -> float:
    """Seconds since boot."""
    return float(Path("/proc/uptime").read_text().split()[0])


def traffic() -> Traffic:
    """Bytes received and sent so far."""
    received = sent = 0
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name, _, rest = line.partition(":")
        if name.strip() != "lo":
            numbers = rest.split()
            received += int(numbers[0])
            sent += int(numbers[8])
    return Traffic(received, sent, time.monotonic())


def megabytes_per_s(before: Traffic, after: Traffic) -> tuple[float, float]:
    """Received and sent in MB/s between two readings."""
    seconds = max(after.at_s - before.at_s, 1e-3)
    return (after.received - before.received) / seconds / 1e6, (after.sent - before.sent) / seconds / 1e6
