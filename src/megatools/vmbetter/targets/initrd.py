"""Target: a kernel and an initrd that is the whole tree.

Called by the builder. What must not be the same on every machine that boots the image (host keys, machine ids, random
seeds), what describes the machine it was built on, and what only the build needed, is left out.
"""

from __future__ import annotations

import fnmatch
import re
import tarfile
from pathlib import Path
from typing import ClassVar

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets import newc
from megatools.vmbetter.targets.target import Made, Tree, deliver_files

FORMAT = 1
_LEFT_OUT = (
    "boot/*",
    "etc/ssh/ssh_host_*",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/urandom/random-seed",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/*_*",
    "var/log/*.log",
    "var/log/apt/*",
)
_SMALL_BYTES = 64 << 20


class InitrdTarget(msgspec.Struct, frozen=True):
    """Kernel and initrd; `compress` is empty (zstd, harder for small trees) or as `--compress` has it."""

    compress: str = ""
    name: ClassVar[str] = "initrd"

    def identity(self) -> object:
        """The format, the compressor and its version."""
        return [FORMAT, self.compress, proc.run_sync(["zstd", "--version"], timeout_s=30).text.strip()]

    def make(self, tree: Tree, workspace: Path, *, epoch: int) -> Made:
        """Kernel and initrd from a tree. Raises InvalidInput when it has no kernel."""
        return make(tree.tar(), workspace, epoch=epoch)

    def deliver(self, files: dict[str, Path], directory: Path, name: str) -> dict[str, Path]:
        """NAME.kernel and NAME.initrd."""
        return deliver_files(files, directory, name)


def belongs(name: str) -> bool:
    """Whether a path of the tree goes into the initrd."""
    return not any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def make(tree: Path, workspace: Path, *, epoch: int) -> Made:
    """Kernel and initrd from a tree's tar (not compressed). Raises InvalidInput when it has no kernel."""
    kernel, plain, initrd = workspace / "kernel", workspace / "initrd.cpio", workspace / "initrd"
    warnings: list[str] = []
    with tarfile.open(tree, "r:") as archive:
        names = {newc.name_of(member): member for member in archive.getmembers()}
        version = _newest_kernel(names, warnings)
        content = archive.extractfile(names[f"boot/vmlinuz-{version}"])
        assert content is not None
        kernel.write_bytes(content.read())
        extra: dict[str, str] = {}
        if "init" not in names:
            extra["init"] = "/sbin/init"
            if not names.keys() & {"sbin/init", "usr/sbin/init"}:
                warnings.append("the tree has neither /init nor /sbin/init: the image will not boot")
        with plain.open("wb") as target:
            unpacked = newc.write(archive, target, epoch=epoch, keep=belongs, extra=extra)
    level = "-19" if unpacked < _SMALL_BYTES else "-3"
    proc.run_sync(["zstd", "-q", "-f", level, "-T0", str(plain), "-o", str(initrd)], timeout_s=1800)
    plain.unlink()
    files = {"kernel": kernel, "initrd": initrd}
    return Made(files, unpacked, tuple(warnings), {"kernel": version})


def _newest_kernel(names: dict[str, tarfile.TarInfo], warnings: list[str]) -> str:
    found = [
        name.removeprefix("boot/vmlinuz-")
        for name, member in names.items()
        if name.startswith("boot/vmlinuz-") and member.isreg()
    ]
    if not found:
        raise InvalidInput("the tree has no kernel", hint='add a package such as "linux-image-amd64" to the config')
    found.sort(key=lambda version: [int(part) if part.isdigit() else 0 for part in re.split(r"[^0-9]+", version)])
    if len(found) > 1:
        warnings.append(f"several kernels ({', '.join(found)}): the newest is used")
    return found[-1]


def memory_needed_mib(unpacked_bytes: int) -> int:
    """RAM a machine needs to boot it: a tmpfs takes half of it at most, the kernel some more."""
    return int(unpacked_bytes * 2.1 / (1 << 20)) + 64
