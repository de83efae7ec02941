"""What is to be launched: one VM, everything resolved, ready to travel to the host that runs it.

`namespace` makes plans (names, UUIDs, VLAN numbers); `vm` launches them; `cluster` may carry them.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from megatools.minimega.vm.config import VmConfig, VmKind


class Origin(StrEnum):
    """Where a VM's first state comes from."""

    COLD = "cold"
    SAVED = "saved"
    TEMPLATE = "template"


class Nic(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network interface, resolved: no VLAN number means disconnected; an empty MAC is generated at launch."""

    bridge: str
    vlan: int | None
    vlan_alias: str = ""
    mac: str = ""
    driver: str = ""
    qinq: bool = False


class VmPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """One VM to launch; the UUID is set, the name is unique in its namespace, nics follow `config.networks`."""

    uuid: str
    name: str
    namespace: str
    kind: VmKind = VmKind.KVM
    config: VmConfig = VmConfig()
    nics: tuple[Nic, ...] = ()
    origin: Origin = Origin.COLD
