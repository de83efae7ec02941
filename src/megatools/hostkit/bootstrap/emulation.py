"""Whether this host can run another architecture's programs, which a build of its image does.

Called by vmbetter's stages. The kernel hands such programs to QEMU (binfmt_misc); the Debian package qemu-user-static
has it do so, with the flag that lets it work in any tree (F: the interpreter is opened beforehand).
"""

from __future__ import annotations

from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.apt import native_architecture
from megatools.hostkit.errors import InvalidInput, NotFound

BINFMT = Path("/proc/sys/fs/binfmt_misc")
QEMU = {
    "amd64": "x86_64", "arm64": "aarch64", "armel": "arm", "armhf": "arm", "i386": "i386", "loong64": "loongarch64",
    "mips64el": "mips64el", "mipsel": "mipsel", "ppc64el": "ppc64le", "riscv64": "riscv64", "s390x": "s390x",
}  # fmt: skip
_RUNS_TOO = {"amd64": ("i386",)}


def check(architecture: str, *, native: str = "", registered: Path = BINFMT) -> None:
    """Raise InvalidInput for an unknown architecture, NotFound for one whose programs cannot run here."""
    native = native or native_architecture()
    if architecture == native:
        return
    if architecture not in QEMU:
        raise InvalidInput(f'architecture "{architecture}" is unknown', hint=f"one of {', '.join(QEMU)}")
    if architecture in _RUNS_TOO.get(native, ()):
        return
    name = f"qemu-{QEMU[architecture]}"
    try:
        lines = (registered / name).read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    if "enabled" in lines and "F" in flags:
        return
    if lines:
        hint = f'"{registered / name}" must be enabled, with the flag F, as the package qemu-user-static has it'
    elif proc.which(f"{name}-static") is not None:
        hint = "QEMU is here, the kernel was not told: run update-binfmts --enable (package binfmt-support)"
    else:
        hint = "install the packages qemu-user-static and binfmt-support"
    raise NotFound(f'programs for "{architecture}" cannot run on this host', hint=hint)
