"""What the journal keeps of a VM (kind `vm`, id = UUID). Used by `fleet`, `launching` and `recovery`.

A record is written before a launch begins (`launched` false) and again when it has succeeded; one that is found
unlaunched after a crash was never acknowledged and is undone. Records of unknown kinds of VM are kept unread.
"""

from __future__ import annotations

import msgspec

from megatools.hostkit.proc import Identity
from megatools.minimega.state.stamps import ZERO, Stamp
from megatools.minimega.vm.lifecycle import VmState
from megatools.minimega.vm.plan import VmPlan

KIND = "vm"


class VmRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One VM as it survives the daemon; times are seconds since the epoch.

    `first_launch` and `last_launch` order its launches among what is asked on other hosts, where `launched_at` is only
    this host's time of day. `written` says when users wrote tags, removed ones included (`cluster.errand_rules`).
    """

    id: int
    backend: str
    plan: VmPlan
    state: VmState = VmState.BUILDING
    launched: bool = False
    launched_at: float = 0.0
    first_launch: Stamp = ZERO
    last_launch: Stamp = ZERO
    identity: Identity | None = None
    taps: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    written: dict[str, Stamp] = {}


class RecordHead(msgspec.Struct, frozen=True):
    """The part of a record that every version and kind has, read before anything else is trusted."""

    backend: str
    id: int = 0
