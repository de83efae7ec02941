"""What a host has, what it has promised to VMs, and whether more may be put on it; pure.

A host's fleet asks when it launches VMs, and `cluster.placement` asks for every host before anything is launched: one
set of rules, so that no host takes what placement must not give it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import msgspec

from megatools.hostkit.errors import Unavailable
from megatools.minimega.vm.config import VmConfig

ANY = 1 << 40  # no limit: more than there can be


class Caps(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a host may promise at most: virtual CPUs per CPU, memory as a share of what there is; 0: no cap."""

    cpu: float = 0.0
    memory: float = 0.0

    def stricter(self, other: Caps) -> Caps:
        """The lower of two caps, each."""
        return Caps(_lower(self.cpu, other.cpu), _lower(self.memory, other.memory))


class NoRoom(Unavailable):
    """A host may not take a VM."""


def _lower(one: float, other: float) -> float:
    given = [cap for cap in (one, other) if cap]
    return min(given, default=0.0)


NO_CAPS = Caps()


class Commitments(msgspec.Struct, frozen=True):
    """What a host's VMs (those with a process) were promised: processors, memory in MiB, interfaces.

    `vm_limit` is how many VMs the most demanding of them tolerates on the host, itself included; -1: any.
    """

    vms: int = 0
    vcpus: int = 0
    memory_mib: int = 0
    nics: int = 0
    vm_limit: int = -1


class Capacity(msgspec.Struct, frozen=True):
    """A host: its processors and memory (MiB), what it has promised, and its own caps."""

    host: str
    cpus: int
    memory_mib: int
    promised: Commitments = Commitments()
    caps: Caps = NO_CAPS


class Need(Protocol):
    """What VMs for one host need: their sums, and how many VMs may be on it at most, they included."""

    @property
    def size(self) -> int:
        """How many VMs."""
        ...

    @property
    def vcpus(self) -> int:
        """Virtual CPUs."""
        ...

    @property
    def memory_mib(self) -> int:
        """Memory."""
        ...

    @property
    def nics(self) -> int:
        """Network interfaces."""
        ...

    @property
    def limit(self) -> int:
        """How many VMs they tolerate on the host, themselves included; `ANY`: any number."""
        ...


class VmNeed(msgspec.Struct, frozen=True):
    """The need of one VM."""

    vcpus: int
    memory_mib: int
    nics: int
    limit: int
    size: int = 1


def need_of(config: VmConfig) -> VmNeed:
    """What a VM of this configuration needs."""
    limit = ANY if config.coschedule < 0 else config.coschedule + 1
    return VmNeed(config.vcpus, config.memory_mib, len(config.networks), limit)


def commitments(configs: Iterable[VmConfig]) -> Commitments:
    """What VMs of these configurations were promised."""
    each = list(configs)
    return Commitments(
        vms=len(each),
        vcpus=sum(config.vcpus for config in each),
        memory_mib=sum(config.memory_mib for config in each),
        nics=sum(len(config.networks) for config in each),
        vm_limit=min((config.coschedule + 1 for config in each if config.coschedule >= 0), default=-1),
    )


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

    def __init__(self, capacity: Capacity, caps: Caps, rank: int = 0) -> None:
        caps = caps.stricter(capacity.caps)
        self.host = capacity.host
        self.rank = rank
        self.cpus = max(capacity.cpus, 1)
        self.memory_mib = max(capacity.memory_mib, 1)
        promised = capacity.promised
        self.vms = promised.vms
        self.vcpus = promised.vcpus
        self.promised_mib = promised.memory_mib
        self.nics = promised.nics
        self.limit = ANY if promised.vm_limit < 0 else promised.vm_limit
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

    def fits(self, need: Need) -> bool:
        """Whether VMs may be put here."""
        vms = self.vms + need.size
        return (
            vms <= self.limit
            and vms <= need.limit
            and self.vcpus + need.vcpus <= self.max_vcpus
            and self.promised_mib + need.memory_mib <= self.max_memory_mib
        )

    def refusal(self, need: Need) -> str:
        """Why VMs may not be put here, with the numbers; empty when they may."""
        vms, limit = self.vms + need.size, min(self.limit, need.limit)
        if vms > limit:
            return (
                f"too many VMs scheduled on {self.host} for coschedule requirement of {limit - 1}: it would have {vms}"
            )
        if self.vcpus + need.vcpus > self.max_vcpus:
            return f"{self.vcpus} of at most {self.max_vcpus} virtual CPUs are promised, {need.vcpus} more are needed"
        if self.promised_mib + need.memory_mib > self.max_memory_mib:
            return (
                f"{self.promised_mib} of at most {self.max_memory_mib} MiB are promised, "
                f"{need.memory_mib} more are needed"
            )
        return ""

    def take(self, need: Need) -> None:
        """Put VMs here."""
        self.vms += need.size
        self.vcpus += need.vcpus
        self.promised_mib += need.memory_mib
        self.nics += need.nics
        self.limit = min(self.limit, need.limit)

    def check(self, need: Need) -> None:
        """Raise NoRoom if VMs may not be put here."""
        if not self.fits(need):
            raise NoRoom(self.refusal(need), hint="see `ns caps`, and coschedule in `vm config`")
