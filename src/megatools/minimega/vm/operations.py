"""What hosts can be asked to do with virtual machines, as values.

Commands and pages make these; `handlers` carries them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Operation, Reach
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.rooms import NO_CAPS, Caps

EVERY_TAG = ""


class Refused(msgspec.Struct, frozen=True, omit_defaults=True):
    """A VM that was not launched, and why."""

    name: str
    error: str
    hint: str = ""


class LaunchVms(Operation, frozen=True):
    """Launch these VMs, held, within caps besides the host's own.

    `files` is the file directory of the host that planned them, `incarnation` that of the namespace. `given_up` are the
    UUIDs of VMs of the namespace here that must end before. Done means that each was launched or refused by itself: the
    answer's data holds those refused.
    """

    plans: tuple[VmPlan, ...]
    files: str = ""
    incarnation: str = ""
    caps: Caps = NO_CAPS
    given_up: tuple[str, ...] = ()

    @staticmethod
    def answer(refused: Sequence[Refused]) -> Answer:
        """The answer that names these."""
        return Answer(data=msgspec.Raw(msgspec.json.encode(refused))) if refused else Answer()

    @staticmethod
    def refused(answer: Answer) -> list[Refused]:
        """The VMs an answer names."""
        return [] if answer.data is None else msgspec.json.decode(answer.data, type=list[Refused])


class StartVms(Operation, frozen=True):
    """Let the VMs of a target run."""

    reach: ClassVar[Reach] = Reach.VM

    target: str


class StopVms(Operation, frozen=True):
    """Hold the VMs of a target."""

    reach: ClassVar[Reach] = Reach.VM

    target: str


class KillVms(Operation, frozen=True):
    """End the VMs of a target."""

    reach: ClassVar[Reach] = Reach.VM

    target: str


class FlushVms(Operation, frozen=True):
    """Forget the dead VMs of a target."""

    reach: ClassVar[Reach] = Reach.VM

    target: str = "all"


class VmInfo(Operation, frozen=True):
    """List VMs, all columns or the summary."""

    reads: ClassVar[bool] = True

    summary: bool = False


class ReadTags(Operation, frozen=True):
    """Read one tag, or all (an empty key), of a target's VMs."""

    reach: ClassVar[Reach] = Reach.VM
    reads: ClassVar[bool] = True

    target: str
    key: str = ""


class SetTag(Operation, frozen=True):
    """Set a tag on a target's VMs."""

    reach: ClassVar[Reach] = Reach.VM

    target: str
    key: str
    value: str


class ClearTags(Operation, frozen=True):
    """Remove one tag, or all (an empty key), from a target's VMs."""

    reach: ClassVar[Reach] = Reach.VM

    target: str
    key: str = ""


class TakeScreenshot(Operation, frozen=True):
    """Answer with a VM's screen as PNG in `data`, base64; with `keep` also as `screenshot.png` in its directory."""

    reach: ClassVar[Reach] = Reach.VM
    reads: ClassVar[bool] = True

    vm: str
    keep: bool = True
    max_px: int = 0


class CloneConfig(Operation, frozen=True):
    """Answer with the configuration a VM was launched with, as JSON in `data`."""

    reach: ClassVar[Reach] = Reach.VM
    reads: ClassVar[bool] = True

    vm: str
