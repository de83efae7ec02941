"""What a virtual machine is made of, as it was configured: the record behind `vm config`.

Anyone may read these; `fields` is the one table that parses, shows and describes them. Defaults are the
document's and minimega 3's (spec B.11, issue 2): a field left alone is not written to the journal.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

DEFAULT_BRIDGE = "mega_bridge"
DEFAULT_NIC_DRIVER = "e1000"


class VmKind(StrEnum):
    """The kinds of virtual machine that can be asked for; a backend may be missing."""

    KVM = "kvm"
    CONTAINER = "container"
    ANDROID = "android"


class NicSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A network interface as written in a netspec; empty means the default (bridge, driver) or generated (MAC)."""

    vlan: str
    bridge: str = ""
    mac: str = ""
    driver: str = ""
    qinq: bool = False


class DiskSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A disk as written in a diskspec; an empty interface is `ide`, an empty cache depends on snapshot mode."""

    path: str
    interface: str = ""
    cache: str = ""


class VmConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """One configuration: every field of `vm config` that concerns all kinds or KVM; memory in MiB."""

    uuid: str = ""
    vcpus: int = 1
    memory_mib: int = 2048
    snapshot: bool = True
    schedule: str = ""
    colocate: str = ""
    coschedule: int = -1
    backchannel: bool = True
    networks: tuple[NicSpec, ...] = ()
    tags: dict[str, str] = {}
    qemu: str = "kvm"
    kernel: str = ""
    initrd: str = ""
    cdrom: str = ""
    state: str = ""
    cpu: str = "host"
    machine: str = ""
    sockets: int = 0
    cores: int = 0
    threads: int = 0
    serial_ports: int = 0
    virtio_ports: str = ""
    vga: str = "std"
    append: tuple[str, ...] = ()
    disks: tuple[DiskSpec, ...] = ()
    usb_use_xhci: bool = True
    tpm_socket: str = ""
    bidirectional_copy_paste: bool = False
    qemu_append: tuple[str, ...] = ()
    qemu_override: tuple[tuple[str, str], ...] = ()
