"""What a kind of virtual machine must offer: prepare, launch, adopt, control, destroy.

`fleet` and `machine` speak only to these protocols; each folder of `vm/backends` implements them::

    prepare(site) --> launch(site) --> Instance --(resume, pause, end)--> gone --> destroy(site)
                      adopt(site)  ----^   after a restart of the daemon
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from megatools.hostkit.proc import Identity
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.plan import VmPlan


@dataclass(frozen=True)
class Capabilities:
    """What a kind of VM can do, so that commands can refuse early."""

    console: bool
    screenshot: bool
    guest_agent: bool
    saved_states: bool


@dataclass(frozen=True)
class Site:
    """Where and as what one VM lives on this host: `plan` has its MACs filled in, `taps` follow `plan.nics`.

    `offload`: the network completes what guests leave to it (checksums, segmentation).
    """

    plan: VmPlan
    id: int
    directory: Path
    taps: tuple[str, ...]
    offload: bool = True


@dataclass(frozen=True)
class Resumed:
    """The VM runs (its processors turn)."""


@dataclass(frozen=True)
class Suspended:
    """The VM is held."""


@dataclass(frozen=True)
class AgentChanged:
    """The guest's agent opened or closed its port."""

    connected: bool


@dataclass(frozen=True)
class Ended:
    """The VM's process is gone; `clean` when the guest or somebody with the right to do so ended it."""

    clean: bool
    reason: str = ""


Happening: TypeAlias = Resumed | Suspended | AgentChanged | Ended
Listener: TypeAlias = Callable[[Happening], None]


class Instance(Protocol):
    """One VM that has a process."""

    @property
    def identity(self) -> Identity:
        """The process."""
        ...

    async def running(self) -> bool:
        """Whether its processors turn."""
        ...

    async def resume(self, *, first: bool) -> None:
        """Let it run; at the first start raise Unavailable when the guest makes no progress at all."""
        ...

    async def pause(self) -> None:
        """Hold it."""
        ...

    async def end(self) -> None:
        """Kill it; returns when the process is gone."""
        ...

    async def screenshot(self, max_px: int) -> bytes:
        """The screen as PNG, at most `max_px` wide or high (0: as it is). Raises InvalidState without a screen."""
        ...

    async def release(self) -> None:
        """Let go of it without touching it: the daemon ends, the VM stays."""
        ...


class Backend(Protocol):
    """One kind of VM."""

    @property
    def kind(self) -> VmKind:
        """Which kind this is."""
        ...

    def capabilities(self) -> Capabilities:
        """What this kind can do."""
        ...

    async def prepare(self, site: Site) -> None:
        """Check what the plan needs and make its files in `site.directory`. Raises a MegaError naming what is wrong."""
        ...

    async def launch(self, site: Site, listener: Listener) -> Instance:
        """Start the VM, held; returns once it can be controlled. After an error no process is left."""
        ...

    async def adopt(self, site: Site, identity: Identity | None, listener: Listener) -> Instance | None:
        """Find a VM an earlier daemon started, by identity or, when None, by its UUID; None when it is gone."""
        ...

    async def destroy(self, site: Site) -> None:
        """Remove what the host still holds of a VM whose process is gone, besides its directory."""
        ...
