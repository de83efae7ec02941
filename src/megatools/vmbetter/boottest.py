"""Boot what a build made in QEMU and wait until it says that it is up, on its first serial line.

Called by the command line (`--boot-test`) and by tests. Nothing is written to the images, and no network is given.
Disks and ISO images are booted on BIOS, and on UEFI where OVMF is installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.sandbox import tied
from megatools.hostkit.errors import CommandFailed, InvalidInput, NotFound
from megatools.hostkit.qemu import probe

MARKER = r"login: |megatools: ready"
TIMEOUT_S = 300.0
_PANIC = re.compile(r"Kernel panic[^\r\n]*|Requested init [^\r\n]* failed|no root filesystem [^\r\n]*")
_FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
)
_DISK_FORMATS = ("qcow2", "raw", "vmdk", "qcow")
_SERIAL = ("-serial", "stdio")
_TAIL_LINES = 12


class Machine(msgspec.Struct, frozen=True):
    """One way to boot a result: what it is called, and QEMU's words for it."""

    title: str
    words: tuple[str, ...]


def machines(files: dict[str, Path]) -> list[Machine]:
    """The ways to boot a build's files (by suffix). Raises InvalidInput when there is none."""
    found: list[Machine] = []
    if "kernel" in files and "initrd" in files:
        words = ("-kernel", str(files["kernel"]), "-initrd", str(files["initrd"]), "-append", "console=ttyS0 quiet")
        found.append(Machine("initrd", words))
    for suffix, path in files.items():
        if suffix in _DISK_FORMATS:
            name = str(path).replace(",", ",,")
            found += _both("disk", ("-drive", f"file={name},format={suffix},if=virtio,snapshot=on"))
        elif suffix == "iso":
            found += _both("iso", ("-cdrom", str(path)))
    if not found:
        raise InvalidInput("none of the results can be booted", hint="ask for an initrd, a --disk or an --iso")
    return found


def _both(title: str, words: tuple[str, ...]) -> list[Machine]:
    found = [Machine(f"{title} on BIOS", words)]
    for code, settings in _FIRMWARE:
        if Path(code).is_file():
            flash = ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
            flash += ["-drive", f"if=pflash,format=raw,snapshot=on,file={settings}"]
            found.append(Machine(f"{title} on UEFI", (*words, *flash)))
            break
    return found


def argv(machine: Machine, memory_mib: int, accelerator: str, serial: tuple[str, ...] = _SERIAL) -> list[str]:
    """QEMU's command line: the serial line is its standard output, unless something else is said for it."""
    cpu = "host" if accelerator == "kvm" else "max"
    words = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", cpu, "-m", str(memory_mib), "-nodefaults"]
    words += ["-machine", "q35,smm=off", "-vga", "std", "-display", "none", "-no-reboot"]
    return [*words, *serial, *machine.words]


def run(
    files: dict[str, Path],
    *,
    memory_mib: int,
    report: Callable[[str], None],
    marker: str = MARKER,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, float]:
    """Boot each result in turn; the seconds each took. `marker` is a regular expression.

    Raises CommandFailed, with the last lines, when a guest panics, ends or does not say the marker in time.
    """
    took: dict[str, float] = {}
    for machine in machines(files):
        report(f"booting the {machine.title} with {memory_mib} MiB")
        took[machine.title] = boot(machine, memory_mib=memory_mib, marker=marker, timeout_s=timeout_s)
        report(f"the {machine.title} is up after {took[machine.title]:.1f} s")
    return took


def boot(machine: Machine, *, memory_mib: int, marker: str = MARKER, timeout_s: float = TIMEOUT_S) -> float:
    """Boot one of them; the seconds it took. Raises as `run` does."""
    if proc.which("qemu-system-x86_64") is None:
        raise NotFound('program "qemu-system-x86_64" is not on this host', hint="run scripts/install")
    try:
        wanted = re.compile(marker)
    except re.error as error:
        raise InvalidInput(f'marker "{marker}" is not a regular expression') from error
    began = time.monotonic()
    with _console(argv(machine, memory_mib, probe.accelerator().name)) as reading:
        _wait(machine, reading, wanted, timeout_s)
    return time.monotonic() - began


@contextlib.contextmanager
def _console(words: list[str]) -> Generator[int]:
    """Run a QEMU; the descriptor of its serial line; ended afterwards, and with us."""
    reading, writing = os.pipe()
    try:
        try:
            child = proc.spawn(tied(words), stdout=writing, stderr=writing)
        finally:
            os.close(writing)
        try:
            yield reading
        finally:
            _end(child)
    finally:
        os.close(reading)


def _end(child: proc.Child) -> None:
    pidfd = os.pidfd_open(child.pid)  # at worst our zombie
    try:
        child.signal(signal.SIGKILL)
        proc.readable(pidfd, timeout_s=30)
        child.poll()
    finally:
        os.close(pidfd)


def _wait(machine: Machine, reading: int, wanted: re.Pattern[str], timeout_s: float) -> None:
    said = ""
    deadline = time.monotonic() + timeout_s
    while not wanted.search(said):
        left = deadline - time.monotonic()
        trouble = _PANIC.search(said)
        if trouble:
            raise _failure(machine, f'says "{trouble[0].strip()}"', said)
        if left <= 0 or not proc.readable(reading, timeout_s=left):
            raise _failure(machine, f"did not come up within {timeout_s:g} s", said)
        data = os.read(reading, 65536)
        if not data:
            raise _failure(machine, "ended", said)
        said += data.decode(errors="replace")


def _failure(machine: Machine, how: str, said: str) -> CommandFailed:
    plain = re.sub(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1bc|[\r\x00]", "", said)
    last = [line.strip() for line in plain.splitlines() if line.strip()][-_TAIL_LINES:]
    told = ", after saying:\n" + "\n".join(f"    {line}" for line in last) if last else ""
    return CommandFailed(f"boot test failed: the {machine.title} {how}{told}")
