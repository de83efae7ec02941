"""What the QEMU of this host is: its program, version, devices, and whether it may use KVM.

Anyone may ask. The text of QEMU's help is parsed by pure functions; answers are kept per program file.
"""

from __future__ import annotations

import asyncio
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, ProtocolError

DEFAULT_PROGRAM = "kvm"
_HELP_TIMEOUT_S = 20.0
_EMULATORS = {"x86_64": "qemu-system-x86_64", "aarch64": "qemu-system-aarch64", "arm64": "qemu-system-aarch64"}
# What to recognise as a NIC driver where QEMU cannot be asked (spec D.9).
NIC_DRIVERS = frozenset(
    (
        "e1000 e1000-82540em e1000-82544gc e1000-82545em e1000e i82550 i82551 i82557a i82557b i82557c i82558a "
        "i82558b i82559a i82559b i82559c i82559er i82562 i82801 igb ne2k_isa ne2k_pci pcnet rtl8139 tulip "
        "usb-net virtio-net virtio-net-device virtio-net-pci virtio-net-pci-non-transitional virtio-net-pci- "
        "transitional vmxnet3"
    ).split()
)


@dataclass(frozen=True)
class Accelerator:
    """What runs guest code, `kvm` or `tcg`, and why it was chosen."""

    name: str
    reason: str


@dataclass(frozen=True)
class QemuFacts:
    """What one QEMU program knows; `cpus` and `machines` are empty when it could not be asked."""

    version: str = ""
    nic_drivers: frozenset[str] = NIC_DRIVERS
    cpus: frozenset[str] = frozenset()
    machines: frozenset[str] = frozenset()


def choose_accelerator(setting: str, *, kvm_opens: bool, cpu_flags: Iterable[str], machine: str) -> Accelerator:
    """Which accelerator to use. A device that opens is not enough: in nested guests of a para-virtual hypervisor

    /dev/kvm opens and every guest hangs, and only the missing CPU flag tells (facts.md section 2).
    """
    if setting in ("kvm", "tcg"):
        return Accelerator(setting, "set by the accelerator setting")
    if setting != "auto":
        raise InvalidInput(f'invalid accelerator "{setting}"', hint="one of auto, kvm, tcg")
    if not kvm_opens:
        return Accelerator("tcg", "/dev/kvm cannot be opened")
    if machine in ("aarch64", "arm64", "s390x", "ppc64", "ppc64le"):
        return Accelerator("kvm", f"/dev/kvm opens on {machine}")
    flags = {"vmx", "svm"} & set(cpu_flags)
    if flags:
        return Accelerator("kvm", f"/dev/kvm opens and the CPU has {min(flags)}")
    return Accelerator("tcg", "/dev/kvm opens, but the CPU shows neither vmx nor svm: guests would hang")


def accelerator(setting: str = "auto") -> Accelerator:
    """The accelerator to use on this host; `setting` is auto, kvm or tcg. Raises InvalidInput for others."""
    return choose_accelerator(setting, kvm_opens=_kvm_opens(), cpu_flags=_cpu_flags(), machine=platform.machine())


def _kvm_opens() -> bool:
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _cpu_flags() -> list[str]:
    found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].split() if found else []


def program(name: str = DEFAULT_PROGRAM) -> Path:
    """Where a QEMU program is; raises NotFound.

    The default name `kvm` means this machine's system emulator: Debian's `kvm` is a wrapper that forces KVM.
    """
    names = [_EMULATORS.get(platform.machine(), f"qemu-system-{platform.machine()}"), name]
    for candidate in names if name == DEFAULT_PROGRAM else [name]:
        found = proc.which(candidate)
        if found is not None:
            return found
    raise NotFound(f'QEMU program "{name}" is not on this host', hint="run scripts/install, or vm config qemu <path>")


def parse_version(text: str) -> str:
    """The version in the first line of `--version`; raises ProtocolError."""
    found = re.search(r"version (\d+(?:\.\d+)+)", text)
    if not found:
        raise ProtocolError(f'QEMU says no version in "{text[:80].strip()}"')
    return found[1]


def parse_nic_drivers(text: str) -> frozenset[str]:
    """The names and aliases in the section `Network devices:` of `-device help`."""
    section = text.partition("Network devices:")[2].partition("\n\n")[0]
    return frozenset(re.findall(r'(?:^name|\balias) "([^"]+)"', section, re.MULTILINE))


def parse_cpus(text: str) -> frozenset[str]:
    """The model names of `-cpu help` (lines `x86 NAME  description`, or just names on other architectures)."""
    models = text.partition("Recognized CPUID flags")[0]
    names = re.findall(r"^(?:x86 +|PowerPC +|s390 +| +)(\S+)", models, re.MULTILINE)
    return frozenset(name.removesuffix(":") for name in names)


def parse_machines(text: str) -> frozenset[str]:
    """The first words of `-machine help` after its heading."""
    return frozenset(line.split()[0] for line in text.splitlines()[1:] if line.strip())


class _Memory:
    """Facts already asked for, by program file and its change time."""

    def __init__(self) -> None:
        self.known: dict[tuple[Path, int], QemuFacts] = {}


_memory = _Memory()


async def facts(name: str = DEFAULT_PROGRAM) -> QemuFacts:
    """What a QEMU program knows; raises a MegaError when it is missing or does not answer."""
    path = program(name)
    key = (path, path.stat().st_mtime_ns)
    if key not in _memory.known:
        _memory.known[key] = await _ask(path)
    return _memory.known[key]


async def facts_or_fallback(name: str = DEFAULT_PROGRAM) -> QemuFacts:
    """The same, or the built-in list of NIC drivers when QEMU cannot be asked (spec D.9)."""
    try:
        return await facts(name)
    except MegaError:
        return QemuFacts()


async def _ask(path: Path) -> QemuFacts:
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(proc.run([str(path), *words], timeout_s=_HELP_TIMEOUT_S))
            for words in (["--version"], ["-device", "help"], ["-cpu", "help"], ["-machine", "help"])
        ]
    version, devices, cpus, machines = (task.result().text for task in asked)
    return QemuFacts(
        parse_version(version),
        parse_nic_drivers(devices) or NIC_DRIVERS,
        parse_cpus(cpus),
        parse_machines(machines),
    )
