"""What is left on a host while VMs are being placed on it: does a group fit, and if not, why. Pure; for `placement`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import assert_never

from megatools.minimega.cluster.demands import ANY, Capacity, Group
from megatools.minimega.namespace.policy import Caps, LoadFunction


class Room:
    """One host as it fills up; `rank` is its place in the order of names."""

    __slots__ = (
        "cpus",
        "host",
        "limit",
        "max_memory_mib",
        "max_vcpus",
        "memory_mib",
        "nics",
        "promised_mib",
        "rank",
        "vcpus",
        "vms",
    )

    def __init__(self, capacity: Capacity, caps: Caps, rank: int) -> None:
        caps = caps.stricter(capacity.caps)
        self.host = capacity.host
        self.rank = rank
        self.cpus = max(capacity.cpus, 1)
        self.memory_mib = max(capacity.memory_mib, 1)
        self.vms = capacity.vms
        self.vcpus = capacity.vcpus
        self.promised_mib = capacity.promised_mib
        self.nics = capacity.nics
        self.limit = ANY if capacity.vm_limit < 0 else capacity.vm_limit
        self.max_vcpus = math.floor(self.cpus * caps.cpu) if caps.cpu else ANY
        self.max_memory_mib = math.floor(self.memory_mib * caps.memory) if caps.memory else ANY

    @property
    def vcpus_left(self) -> int:
        """How many virtual CPUs may still be promised; never below 0."""
        return max(self.max_vcpus - self.vcpus, 0)

    @property
    def memory_left_mib(self) -> int:
        """How much memory may still be promised; never below 0."""
        return max(self.max_memory_mib - self.promised_mib, 0)

    def fits(self, group: Group) -> bool:
        """Whether the group may be put here."""
        vms = self.vms + group.size
        return (
            vms <= self.limit
            and vms <= group.limit
            and self.vcpus + group.vcpus <= self.max_vcpus
            and self.promised_mib + group.memory_mib <= self.max_memory_mib
        )

    def refusal(self, group: Group) -> str:
        """Why the group may not be put here, with the numbers; empty when it may."""
        vms, limit = self.vms + group.size, min(self.limit, group.limit)
        if vms > limit:
            return (
                f"too many VMs scheduled on {self.host} for coschedule requirement of {limit - 1}: it would have {vms}"
            )
        if self.vcpus + group.vcpus > self.max_vcpus:
            return f"{self.vcpus} of at most {self.max_vcpus} virtual CPUs are promised, {group.vcpus} more are needed"
        if self.promised_mib + group.memory_mib > self.max_memory_mib:
            return (
                f"{self.promised_mib} of at most {self.max_memory_mib} MiB are promised, "
                f"{group.memory_mib} more are needed"
            )
        return ""

    def take(self, group: Group) -> None:
        """Put the group here."""
        self.vms += group.size
        self.vcpus += group.vcpus
        self.promised_mib += group.memory_mib
        self.nics += group.nics
        self.limit = min(self.limit, group.limit)


def load_of(function: LoadFunction) -> Callable[[Room], float]:
    """How busy a room is, by a load function."""
    match function:
        case LoadFunction.CPU:
            return lambda room: room.vcpus / room.cpus
        case LoadFunction.NETWORK:
            return lambda room: float(room.nics)
        case LoadFunction.MEMORY:
            return lambda room: room.promised_mib / room.memory_mib
        case _:
            assert_never(function)
