"""By what rules a namespace spreads its VMs over its hosts: how load is counted, and how much a host may promise.

Kept with the namespace, used by `cluster.placement`; pure.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LoadFunction(StrEnum):
    """How busy a host counts as: promised processors or memory as a share of what it has, or promised interfaces."""

    CPU = "cpucommit"
    NETWORK = "netcommit"
    MEMORY = "memcommit"


class Caps(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a host may promise at most: virtual CPUs per CPU, memory as a share of what there is; 0: no cap."""

    cpu: float = 0.0
    memory: float = 0.0

    def stricter(self, other: Caps) -> Caps:
        """The lower of two caps, each."""
        return Caps(_lower(self.cpu, other.cpu), _lower(self.memory, other.memory))


def _lower(one: float, other: float) -> float:
    given = [cap for cap in (one, other) if cap]
    return min(given, default=0.0)
