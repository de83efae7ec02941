"""What the VM ring is told by the daemon's settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from megatools.minimega.vm.rooms import NO_CAPS, Caps


def _spawns() -> int:
    return len(os.sched_getaffinity(0)) + 2


@dataclass(frozen=True)
class VmSettings:
    """`accelerator` is auto, kvm or tcg; `concurrent_spawns` processes start at once; times in seconds.

    `caps` is how much this host promises to VMs at most.
    """

    accelerator: str = "auto"
    caps: Caps = NO_CAPS
    concurrent_spawns: int = field(default_factory=_spawns)
    ready_timeout_s: float = 60.0
    adopt_timeout_s: float = 5.0
    progress_timeout_s: float = 2.0
