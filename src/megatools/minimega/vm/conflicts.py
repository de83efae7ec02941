"""Whether a new VM can live beside those of its host (spec B.11 "Conflicts"). Used by `fleet`."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from megatools.hostkit.errors import AlreadyExists, InvalidInput, InvalidState
from megatools.minimega.vm.lifecycle import ALIVE
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.plan import VmPlan

_log = logging.getLogger(__name__)


def check_conflicts(plan: VmPlan, others: Iterable[Machine]) -> None:
    """Raise AlreadyExists (name), InvalidInput (a MAC twice on it) or InvalidState (disk); warn about a MAC in use."""
    macs = [nic.mac for nic in plan.nics if nic.mac]
    for mac in macs:
        if macs.count(mac) > 1:
            raise InvalidInput(f'MAC "{mac}" is given twice to vm "{plan.name}"')
    for other in others:
        if other.namespace == plan.namespace and other.name == plan.name:
            raise AlreadyExists(f"duplicate VM name: {plan.name}", hint="flush the old one or take another name")
        if other.state in ALIVE:
            _check_disks(plan, other)
            _warn_about_macs(plan, other)


def _check_disks(plan: VmPlan, other: Machine) -> None:
    theirs = other.site.plan.config
    if plan.config.snapshot and theirs.snapshot:
        return
    for path in {disk.path for disk in plan.config.disks} & {disk.path for disk in theirs.disks}:
        raise InvalidState(
            f"disk conflict with vm {other.name}: {path}", hint="a disk can be shared in snapshot mode only"
        )


def _warn_about_macs(plan: VmPlan, other: Machine) -> None:
    for nic in plan.nics:
        if nic.mac and any((nic.mac, nic.vlan) == (theirs.mac, theirs.vlan) for theirs in other.site.plan.nics):
            _log.warning('vm "%s" has the MAC %s of vm "%s" on the same vlan', plan.name, nic.mac, other.name)
