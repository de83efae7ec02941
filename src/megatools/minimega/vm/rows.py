"""What `vm info` shows: one frozen row per VM, columns in the order of spec B.11. Used by `fleet`, pages and tests.

A field another type of VM has is None and shows as `N/A`.
"""

from __future__ import annotations

import time

import msgspec

from megatools.hostkit.units import format_duration
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.diskspec import show_diskspec
from megatools.minimega.vm.lifecycle import ALIVE, VmState
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.plan import Nic
from megatools.minimega.vm.ports import Ports

DISCONNECTED = "disconnected"


class VmRow(
    msgspec.Struct,
    frozen=True,
    rename={
        "serial_ports": "serial-ports",
        "virtio_ports": "virtio-ports",
        "usb_use_xhci": "usb-use-xhci",
        "tpm_socket": "tpm-socket",
        "bidirectional_copy_paste": "bidirectional-copy-paste",
    },
):
    """One VM, all columns."""

    id: int
    name: str
    state: VmState
    uptime: str
    type: VmKind
    uuid: str
    cc_active: bool
    pid: int
    vlan: tuple[str, ...]
    bridge: tuple[str, ...]
    tap: tuple[str, ...]
    mac: tuple[str, ...]
    ip: tuple[str, ...]
    ip6: tuple[str, ...]
    qos: tuple[str, ...]
    qinq: tuple[str, ...]
    bond: tuple[str, ...]
    memory: int
    vcpus: int
    disks: tuple[str, ...] | None
    snapshot: bool
    initrd: str | None
    kernel: str | None
    cdrom: str | None
    save: str | None
    append: str | None
    serial_ports: int | None
    virtio_ports: str | None
    vnc_port: int | None
    usb_use_xhci: bool | None
    tpm_socket: str | None
    bidirectional_copy_paste: bool | None
    android_avd: str | None
    android_console_port: int | None
    android_adb_port: int | None
    android_serial: str | None
    filesystem: str | None
    hostname: str | None
    init: tuple[str, ...] | None
    preinit: str | None
    fifo: int | None
    volume: dict[str, str] | None
    console_port: int | None
    tags: dict[str, str]


class VmSummary(msgspec.Struct, frozen=True):
    """One VM, the columns of `vm info summary`."""

    id: int
    name: str
    state: VmState
    type: VmKind
    uuid: str
    cc_active: bool
    vlan: tuple[str, ...]


def vlan_text(nic: Nic) -> str:
    """How a NIC's VLAN is shown: `ALIAS (103)`, `100` or `disconnected`."""
    if nic.vlan is None:
        return DISCONNECTED
    return f"{nic.vlan_alias} ({nic.vlan})" if nic.vlan_alias else str(nic.vlan)


def summary(machine: Machine) -> VmSummary:
    """A VM's short row."""
    plan = machine.site.plan
    vlans = tuple(vlan_text(nic) for nic in plan.nics)
    return VmSummary(machine.id, plan.name, machine.state, plan.kind, plan.uuid, machine.agent_connected, vlans)


def row(machine: Machine, network: Ports) -> VmRow:
    """A VM's full row."""
    plan = machine.site.plan
    config, nics = plan.config, plan.nics
    seen = [network.addresses(nic.mac) for nic in nics]
    alive = machine.state in ALIVE
    return VmRow(
        id=machine.id,
        name=plan.name,
        state=machine.state,
        uptime=format_duration(round(time.time() - machine.launched_at, 1)) if alive else "0s",
        type=plan.kind,
        uuid=plan.uuid,
        cc_active=machine.agent_connected,
        pid=machine.instance.identity.pid if machine.instance is not None else 0,
        vlan=tuple(vlan_text(nic) for nic in nics),
        bridge=tuple(nic.bridge for nic in nics),
        tap=machine.site.taps,
        mac=tuple(nic.mac for nic in nics),
        ip=tuple(found.ip4 for found in seen),
        ip6=tuple(found.ip6 for found in seen),
        qos=(),
        qinq=tuple("true" if nic.qinq else "false" for nic in nics),
        bond=(),
        memory=config.memory_mib,
        vcpus=config.vcpus,
        disks=tuple(show_diskspec(disk) for disk in config.disks),
        snapshot=config.snapshot,
        initrd=config.initrd,
        kernel=config.kernel,
        cdrom=config.cdrom,
        save=config.state,
        append=" ".join(config.append),
        serial_ports=config.serial_ports,
        virtio_ports=config.virtio_ports,
        vnc_port=None,
        usb_use_xhci=config.usb_use_xhci,
        tpm_socket=config.tpm_socket,
        bidirectional_copy_paste=config.bidirectional_copy_paste,
        android_avd=None,
        android_console_port=None,
        android_adb_port=None,
        android_serial=None,
        filesystem=None,
        hostname=None,
        init=None,
        preinit=None,
        fifo=None,
        volume=None,
        console_port=None,
        tags=dict(machine.tags),
    )
