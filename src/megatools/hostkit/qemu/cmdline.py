"""QEMU's whole command line from a description of a machine: pure, tested on data files for KVM and TCG.

Used by the KVM backend. Lean: no default devices, only what was asked for (facts.md section 2).
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit.qemu.devices import (
    Disk,
    GuestPort,
    Interface,
    disk_words,
    nic_words,
    port_words,
    quoted,
    screen_words,
    serial_words,
    tpm_words,
)

_PC_OPTIONS = "usb=off,vmport=off,smm=off,hpet=off"


@dataclass(frozen=True)
class MachineSpec:
    """One machine for QEMU; paths are the host's, `monitor_fd` is an inherited socket (None: only the one on disk)."""

    program: str
    name: str
    uuid: str
    accelerator: str
    directory: Path
    memory_mib: int = 2048
    vcpus: int = 1
    sockets: int = 0
    cores: int = 0
    threads: int = 0
    cpu: str = "host"
    machine: str = ""
    vga: str = "std"
    usb_use_xhci: bool = True
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    cdrom: str = ""
    has_cdrom: bool = True
    disks: tuple[Disk, ...] = ()
    nics: tuple[Interface, ...] = ()
    serial_paths: tuple[Path, ...] = ()
    ports: tuple[GuestPort, ...] = ()
    clipboard: bool = False
    tpm_socket: str = ""
    extra: tuple[str, ...] = ()
    overrides: tuple[tuple[str, str], ...] = ()
    monitor_fd: int | None = None


def argv(spec: MachineSpec) -> list[str]:
    """The command line, held at start (`-S`). Raises InvalidInput when a device does not fit."""
    words = [
        *_machine_words(spec),
        *_monitor_words(spec),
        *screen_words(spec.vga, spec.directory / "vnc", xhci=spec.usb_use_xhci),
        *disk_words(spec.disks, spec.cdrom, has_cdrom=spec.has_cdrom),
        *_kernel_words(spec),
        *port_words(spec.ports, clipboard=spec.clipboard),
        *serial_words(spec.serial_paths),
        *nic_words(spec.nics),
        *tpm_words(spec.tpm_socket),
        *spec.extra,
    ]
    return [spec.program, *overridden(words, spec.overrides)]


def overridden(words: Sequence[str], overrides: Iterable[tuple[str, str]]) -> list[str]:
    """Words with replacements applied in order; quoting survives because words stay words (spec D.15).

    A match of one word replaces every occurrence inside any word; a word that becomes empty is dropped.
    A match of several words replaces each run of words equal to it.
    """
    result = list(words)
    for match, replacement in overrides:
        sought = shlex.split(match)
        if len(sought) == 1:
            result = _replaced_inside(result, sought[0], replacement)
        elif sought:
            result = _replaced_runs(result, sought, shlex.split(replacement))
    return result


def _replaced_inside(words: list[str], sought: str, replacement: str) -> list[str]:
    result: list[str] = []
    for word in words:
        if word == sought:
            result += shlex.split(replacement)
        elif sought in word:
            result += [changed] if (changed := word.replace(sought, replacement)) else []
        else:
            result.append(word)
    return result


def _replaced_runs(words: list[str], sought: list[str], replacement: list[str]) -> list[str]:
    result: list[str] = []
    at = 0
    while at < len(words):
        if words[at : at + len(sought)] == sought:
            result += replacement
            at += len(sought)
        else:
            result.append(words[at])
            at += 1
    return result


def is_pc(machine: str) -> bool:
    """Whether a machine type is a PC, which has the options that lean ones switch off."""
    return machine in ("", "pc", "q35") or machine.startswith(("pc-i440fx", "pc-q35"))


def _machine_words(spec: MachineSpec) -> list[str]:
    kind = spec.machine or "pc"
    options = f",{_PC_OPTIONS}" if is_pc(spec.machine) else ""
    cpu = "max" if spec.cpu == "host" and spec.accelerator != "kvm" else spec.cpu
    topology = {"sockets": spec.sockets, "cores": spec.cores, "threads": spec.threads}
    smp = "".join(f",{name}={count}" for name, count in topology.items() if count)
    return [
        *("-name", quoted(spec.name), "-uuid", spec.uuid),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", kind + options, "-accel", spec.accelerator),
        *("-cpu", cpu, "-smp", f"cpus={spec.vcpus}{smp}", "-m", str(spec.memory_mib)),
        *("-rtc", "base=utc,clock=vm", "-S", "-pidfile", str(spec.directory / "qemu.pid")),
    ]


def _monitor_words(spec: MachineSpec) -> list[str]:
    on_disk = f"socket,id=qmp0,path={quoted(spec.directory / 'qmp')},server=on,wait=off"
    words = ["-chardev", on_disk, "-mon", "chardev=qmp0,mode=control"]
    if spec.monitor_fd is not None:
        words += ["-chardev", f"socket,id=qmp1,fd={spec.monitor_fd}", "-mon", "chardev=qmp1,mode=control"]
    return words


def _kernel_words(spec: MachineSpec) -> list[str]:
    words = [("-kernel", spec.kernel), ("-initrd", spec.initrd), ("-append", spec.append)]
    return [part for option, value in words if value for part in (option, value)]
