"""Which of several VMs that got one name keeps it, and what the others are called from then on: pure.

Two VMs of a namespace get one name when they are launched on two sides of a partition, or in the same moment by two who
did not know of each other. The one launched first keeps it (then the smaller host name, then the UUID); each other
takes its host's name along. Every host works out the same from the same facts and renames its own VMs only. Used by
`twins`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from megatools.minimega.state.stamps import Stamp

LONGEST = 64


class Named(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One VM: when it was launched for the first time, where, and what it is called."""

    launched: Stamp
    host: str
    uuid: str
    name: str


def renamed(host: str, vms: Collection[Named]) -> Mapping[str, str]:
    """The new names, by UUID, of the VMs of a host that must give up theirs."""
    first: dict[str, Named] = {}
    for vm in sorted(vms):
        first.setdefault(vm.name, vm)
    taken = {vm.name for vm in vms}
    found: dict[str, str] = {}
    for vm in sorted(vms):
        if vm.host == host and first[vm.name] is not vm:
            found[vm.uuid] = _free(vm, taken)
            taken.add(found[vm.uuid])
    return found


def _free(vm: Named, taken: Collection[str]) -> str:
    """`NAME-HOST`, with a number behind it where that is taken, cut to the length a name may have."""
    number = 1
    while True:
        end = f"-{vm.host}" if number == 1 else f"-{vm.host}-{number}"
        name = vm.name[: LONGEST - len(end)] + end
        if name not in taken:
            return name
        number += 1
