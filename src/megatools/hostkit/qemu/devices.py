"""QEMU's devices as argument words: pure text, tested on data.

Used by `cmdline`. Commas inside values are doubled, as QemuOpts asks (qemu(1), "-name" and others).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit.errors import InvalidInput

DISK_INTERFACES = ("ahci", "ide", "scsi", "sd", "mtd", "floppy", "pflash", "virtio")
DISK_CACHES = ("none", "writeback", "unsafe", "directsync", "writethrough")
NICS_ON_ROOT_BUS = 12  # beyond, pci-bridges; the root bus keeps room for what is plugged in later
NICS_PER_BRIDGE = 31
PORTS_PER_VIRTIO_SERIAL = 30
ISA_SERIAL_PORTS = 4
IDE_DISKS = 3  # of the four places of a PC, the fourth is the cdrom drive's
_AHCI_PORTS = 6


@dataclass(frozen=True)
class Disk:
    """A disk: file, its format (`raw`, `qcow2`, ...; empty: QEMU looks), interface and cache mode."""

    path: str
    format: str = ""
    interface: str = "ide"
    cache: str = "writeback"


@dataclass(frozen=True)
class Interface:
    """A network interface: the tap it is plugged into, its MAC and model.

    `offload`: the network behind the tap completes checksums. Userspace datapaths do not: with virtio headers on the
    tap, frames a guest leaves unfinished are lost there.
    """

    tap: str
    mac: str
    driver: str = "e1000"
    offload: bool = True


@dataclass(frozen=True)
class GuestPort:
    """A virtio-serial port: the name the guest sees, the host's socket, and the id events carry (may be empty)."""

    name: str
    path: Path
    id: str = ""


def quoted(value: object) -> str:
    """A value inside a comma-separated option."""
    return str(value).replace(",", ",,")


def disk_words(disks: Sequence[Disk], cdrom: str, *, has_cdrom: bool) -> list[str]:
    """Drives for disks and the cdrom drive, which is there even when empty. Raises InvalidInput beyond IDE's places."""
    words: list[str] = []
    counts: dict[str, int] = {}
    for number, disk in enumerate(disks):
        place = counts.get(disk.interface, 0)
        counts[disk.interface] = place + 1
        words += _one_disk(disk, number, place)
    if has_cdrom:
        medium = f"file={quoted(cdrom)}," if cdrom else ""
        words += ["-drive", f"{medium}if=ide,index=3,media=cdrom,id=cdrom0,readonly=on"]
        words += ["-boot", "once=d"] if cdrom else []
    return words


def _one_disk(disk: Disk, number: int, place: int) -> list[str]:
    image = f"file={quoted(disk.path)},cache={disk.cache}" + (f",format={disk.format}" if disk.format else "")
    match disk.interface:
        case "ide":
            if place >= IDE_DISKS:
                raise InvalidInput(
                    f"too many ide disks: disk {number} is the {place + 1}th and the limit is {IDE_DISKS}",
                    hint="name an interface, for example <path>,virtio",
                )
            return ["-drive", f"{image},if=ide,index={place},media=disk,id=disk{number}"]
        case "mtd" | "floppy" | "pflash":
            return ["-drive", f"{image},if={disk.interface},index={place},id=disk{number}"]
        case _:
            device = _attached_disk(disk.interface, number, place)
            return ["-drive", f"{image},if=none,id=disk{number}", *device]


def _attached_disk(interface: str, number: int, place: int) -> list[str]:
    """A disk on a controller of its own kind, made at its first disk."""
    match interface:
        case "virtio":
            return ["-device", f"virtio-blk-pci,drive=disk{number}"]
        case "scsi":
            controller = ["-device", "virtio-scsi-pci,id=scsi0"] if place == 0 else []
            return [*controller, "-device", f"scsi-hd,drive=disk{number},bus=scsi0.0"]
        case "ahci":
            bus, port = divmod(place, _AHCI_PORTS)
            controller = ["-device", f"ahci,id=ahci{bus}"] if port == 0 else []
            return [*controller, "-device", f"ide-hd,drive=disk{number},bus=ahci{bus}.{port}"]
        case "sd":
            return ["-device", "sdhci-pci", "-device", f"sd-card,drive=disk{number}"]  # a card takes the free slot
        case _:
            names = ", ".join(DISK_INTERFACES)
            raise InvalidInput(f'unknown disk interface "{interface}"', hint=f"one of {names}")


def nic_words(nics: Sequence[Interface]) -> list[str]:
    """NICs on their taps: few sit on the root bus, many on pci-bridges of 31."""
    words: list[str] = []
    bridged = len(nics) > NICS_ON_ROOT_BUS
    for number, nic in enumerate(nics):
        bridge, slot = divmod(number, NICS_PER_BRIDGE)
        if bridged and slot == 0:
            words += ["-device", f"pci-bridge,id=pci.{bridge + 1},chassis_nr={bridge + 1}"]
        where = f",bus=pci.{bridge + 1},addr={slot + 1:#x}" if bridged else ""
        tap = f"tap,id=net{number},ifname={quoted(nic.tap)},script=no,downscript=no"
        if not nic.offload:
            tap += ",vnet_hdr=off"
        words += ["-netdev", tap]
        words += ["-device", f"{nic.driver},netdev=net{number},id=nic{number},mac={nic.mac}{where}"]
    return words


def serial_words(paths: Sequence[Path]) -> list[str]:
    """Serial ports on listening UNIX sockets: four ISA ones, the rest on PCI."""
    words: list[str] = []
    for number, path in enumerate(paths):
        device = "isa-serial" if number < ISA_SERIAL_PORTS else "pci-serial"
        words += ["-chardev", f"socket,id=serial{number},path={quoted(path)},server=on,wait=off"]
        words += ["-device", f"{device},chardev=serial{number},id=uart{number}"]
    return words


def port_words(ports: Sequence[GuestPort], *, clipboard: bool) -> list[str]:
    """Virtio-serial ports on listening UNIX sockets, 30 to a controller, and QEMU's own clipboard agent."""
    words: list[str] = []
    total = len(ports) + (1 if clipboard else 0)
    for number in range(total):
        controller, place = divmod(number, PORTS_PER_VIRTIO_SERIAL)
        bus = f"bus=vserial{controller}.0,nr={place + 1}"
        if place == 0:
            words += ["-device", f"virtio-serial-pci,id=vserial{controller}"]
        if number == len(ports):
            words += ["-chardev", "qemu-vdagent,id=vdagent,name=vdagent,clipboard=on"]
            words += ["-device", f"virtserialport,{bus},chardev=vdagent,name=com.redhat.spice.0"]
            continue
        port = ports[number]
        chardev = port.id or f"virtio-serial{number}"
        known = f",id={port.id}" if port.id else ""
        words += ["-chardev", f"socket,id=chardev-{chardev},path={quoted(port.path)},server=on,wait=off"]
        words += ["-device", f"virtserialport,{bus},chardev=chardev-{chardev},name={quoted(port.name)}{known}"]
    return words


def screen_words(vga: str, vnc: Path, *, xhci: bool) -> list[str]:
    """A graphics card, VNC on a UNIX socket, and a USB tablet with its controller; nothing for `none`."""
    if vga == "none":
        return []
    usb = (
        ["-device", "qemu-xhci,id=usb"] if xhci else ["-device", "usb-ehci,id=ehci", "-device", "piix3-usb-uhci,id=usb"]
    )
    return ["-vga", vga, "-vnc", f"unix:{quoted(vnc)}", *usb, "-device", "usb-tablet,id=tablet,bus=usb.0"]


def tpm_words(socket: str) -> list[str]:
    """A TPM emulated by the program behind a socket (swtpm)."""
    if not socket:
        return []
    chardev = f"socket,id=tpm,path={quoted(socket)}"
    return ["-chardev", chardev, "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0"]
