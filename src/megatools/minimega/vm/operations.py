"""What hosts can be asked to do with virtual machines, as values.

Commands and pages make these; `handlers` carries them out.
"""

from __future__ import annotations

from megatools.minimega.lang.operation import Operation
from megatools.minimega.vm.plan import VmPlan


class LaunchVms(Operation, frozen=True):
    """Launch these VMs, held."""

    plans: tuple[VmPlan, ...]


class StartVms(Operation, frozen=True):
    """Let the VMs of a target run."""

    target: str


class StopVms(Operation, frozen=True):
    """Hold the VMs of a target."""

    target: str


class KillVms(Operation, frozen=True):
    """End the VMs of a target."""

    target: str


class FlushVms(Operation, frozen=True):
    """Forget the dead VMs of a target."""

    target: str = "all"


class VmInfo(Operation, frozen=True):
    """List VMs, all columns or the summary."""

    summary: bool = False


class ReadTags(Operation, frozen=True):
    """Read one tag, or all (an empty key), of a target's VMs."""

    target: str
    key: str = ""


class SetTag(Operation, frozen=True):
    """Set a tag on a target's VMs."""

    target: str
    key: str
    value: str


class ClearTags(Operation, frozen=True):
    """Remove one tag, or all (an empty key), from a target's VMs."""

    target: str
    key: str = ""


class TakeScreenshot(Operation, frozen=True):
    """Write a VM's screen as PNG to a file (empty: `screenshot.png` in its directory)."""

    vm: str
    file: str = ""
    max_px: int = 0


class CloneConfig(Operation, frozen=True):
    """Answer with the configuration a VM was launched with, as JSON in `data`."""

    vm: str
