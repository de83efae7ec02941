"""Target: a kernel and an initrd that is the whole tree.

Called by the builder. Where that is exact, the initrd has two segments, compressed apart: the packages' tree, which is
packed once, and the layer of all changes, which the kernel unpacks over it. Whether it is depends on the two alone, not
on what is in the cache. What must not be the same on every machine that boots the image (host keys, machine ids, random
seeds), what describes the machine it was built on, and what only the build needed, is left out.
"""

from __future__ import annotations

import fnmatch
import os
import re
import tarfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import ClassVar

import msgspec

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter import secrets
from megatools.vmbetter.targets import attributes, newc
from megatools.vmbetter.targets.attributes import Attributes
from megatools.vmbetter.targets.compressor import Compressor
from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.targets.target import Made, Tree, deliver_files
from megatools.vmbetter.tree import Layer, Member, index

FORMAT = 4
_LEFT_OUT = (
    *secrets.MADE_AGAIN,
    *secrets.MISSED,
    "boot/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/cache/ldconfig/aux-cache",
    "var/lib/apt/lists/*_*",
    "var/log/*.log",
    "var/log/apt/*",
)
_KERNEL_MIB = 80  # Debian's generic kernel, before it starts init
_TWICE_AT_MOST = 20  # a twentieth of the base


class InitrdTarget(msgspec.Struct, frozen=True):
    """Kernel and initrd."""

    compressor: Compressor = Compressor()
    name: ClassVar[str] = "initrd"

    def tools(self) -> list[str]:
        """The compressor's version."""
        return self.compressor.tools()

    def identity(self) -> object:
        """The format, the compressor and its version."""
        return [FORMAT, _LEFT_OUT, self.compressor, self.tools()]

    def make(self, tree: Tree, workspace: Path, *, epoch: int) -> Made:
        """Kernel and initrd from a tree. Raises InvalidInput when it has no kernel."""
        base = tree.base_members()
        newer = members_of(tree.layer)
        if not layers_exactly(base, newer, tree.layer):
            return make(tree.tar(), workspace, epoch=epoch, compressor=self.compressor)
        names = {member.name: member for member in (*base, *newer)}
        warnings: list[str] = []
        version = newest_kernel([name for name, member in names.items() if member.kind == "file"], warnings)
        name = f"boot/vmlinuz-{version}"
        upper = tree.layer.tar if tree.layer is not None else _empty(workspace)
        changed = {member.name for member in newer}

        def taken(path: str) -> Path:
            if path in changed:
                return _extracted(upper, path, workspace)
            return tree.of_base(["file", path], lambda tar: _extracted(tar, path, workspace))

        config = names.get(f"boot/config-{version}")
        known = taken(config.name).read_text(errors="replace") if config is not None and config.kind == "file" else ""
        packer = self.compressor.fitting(version, known, warnings)
        unpacked = sum(newc.pages(member.size) for member in names.values() if belongs(member.name))
        small = sum(member.size for member in base if belongs(member.name))

        def packed(tar: Path, extra: dict[str, str | bytes], label: str) -> Path:
            plain, segment = workspace / f"{label}.cpio", workspace / label
            with tarfile.open(tar, "r:") as archive, plain.open("wb") as target:
                newc.write(archive, target, epoch=epoch, keep=belongs, extra=extra)
            packer.run(plain, segment, whole_bytes=small)
            return segment

        kernel = taken(name)
        first = tree.of_base(["segment", self.identity(), packer], lambda tar: packed(tar, {}, "base"))
        below = tree.of_base(["attributes", attributes.FORMAT, _LEFT_OUT], lambda tar: _noted(tar, workspace))
        held = msgspec.json.decode(below.read_bytes(), type=Attributes)
        held = held.under(attributes.found(upper, belongs), changed)
        extra = _start(names.keys(), held, warnings)
        parts = [first, packed(upper, extra, "changes")] if extra or newer else [first]
        files = {"kernel": _copy([kernel], workspace / "delivered"), "initrd": _copy(parts, workspace / "initrd")}
        return Made(files, unpacked, tuple(warnings), _notes(version, unpacked, files["initrd"]))

    def deliver(self, files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
        """NAME.kernel and NAME.initrd."""
        return deliver_files(files, delivery, name)


def members_of(layer: Layer | None) -> list[Member]:
    """The entries a layer has."""
    return index(layer.tar) if layer is not None else []


def layers_exactly(base: list[Member], newer: list[Member], layer: Layer | None) -> bool:
    """Whether unpacking a layer's entries over a base's, as the kernel does it, gives just the merged tree.

    It does not where something goes, a folder becomes something else or the reverse, a file with several names is
    replaced (the kernel writes into the file there is), or a device is there already. It is not worth it where much
    of the base is replaced: both would take memory.
    """
    if layer is not None and (layer.gone or layer.opaque):
        return False
    older = {member.name: member for member in base}
    shared = {name for member in base if member.kind == "again" for name in (member.name, member.target)}
    twice = 0
    for member in newer:
        below = older.get(member.name)
        if below is None or (member.kind == below.kind == "folder"):
            continue
        if "folder" in (member.kind, below.kind) or "device" in (member.kind, below.kind) or member.name in shared:
            return False
        twice += below.size
    return twice * _TWICE_AT_MOST <= sum(member.size for member in base)


def belongs(name: str) -> bool:
    """Whether a path of the tree goes into the initrd."""
    return not any(fnmatch.fnmatchcase(name, pattern) for pattern in _LEFT_OUT)


def make(tree: Path, workspace: Path, *, epoch: int, compressor: Compressor | None = None) -> Made:
    """Kernel and initrd from a tree's tar (not compressed). Raises InvalidInput when it has no kernel."""
    kernel, plain, initrd = workspace / "kernel", workspace / "initrd.cpio", workspace / "initrd"
    warnings: list[str] = []
    held = attributes.found(tree, belongs)
    with tarfile.open(tree, "r:") as archive:
        names = {newc.name_of(member): member for member in archive.getmembers()}
        version = newest_kernel([name for name, member in names.items() if member.isreg()], warnings)
        kernel.write_bytes(_content(archive, names[f"boot/vmlinuz-{version}"]))
        config = names.get(f"boot/config-{version}")
        text = _content(archive, config).decode(errors="replace") if config is not None and config.isreg() else ""
        packer = (compressor or Compressor()).fitting(version, text, warnings)
        extra = _start(names.keys(), held, warnings)
        with plain.open("wb") as target:
            unpacked = newc.write(archive, target, epoch=epoch, keep=belongs, extra=extra)
    packer.run(plain, initrd, whole_bytes=unpacked)
    files = {"kernel": kernel, "initrd": initrd}
    return Made(files, unpacked, tuple(warnings), _notes(version, unpacked, initrd))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None
    return stream.read()


def newest_kernel(files: Iterable[str], warnings: list[str]) -> str:
    """The version of the newest kernel among a tree's files. Raises InvalidInput when there is none."""
    found = [name.removeprefix("boot/vmlinuz-") for name in files if name.startswith("boot/vmlinuz-")]
    if not found:
        raise InvalidInput("the tree has no kernel", hint='add a package such as "linux-image-amd64" to the config')
    found.sort(key=lambda version: [int(part) if part.isdigit() else 0 for part in re.split(r"[^0-9]+", version)])
    if len(found) > 1:
        warnings.append(f"several kernels ({', '.join(found)}): the newest is used")
    return found[-1]


def _start(names: Collection[str], held: Attributes, warnings: list[str]) -> dict[str, str | bytes]:
    """What is missing for the kernel to find init: a link, or a program that sets file capabilities first."""
    attributes.warn(held.others, warnings)
    program = attributes.init_program(held.capabilities, names, warnings)
    if "init" in names:
        return {}
    if not {"sbin/init", "usr/sbin/init"} & set(names):
        warnings.append("the tree has neither /init nor /sbin/init: the image will not boot")
    return {"init": program or "/sbin/init"}


def _noted(tar: Path, workspace: Path) -> Path:
    target = workspace / "attributes.json"
    target.write_bytes(msgspec.json.encode(attributes.found(tar, belongs)))
    return target


def _notes(version: str, unpacked: int, initrd: Path) -> dict[str, str]:
    return {"kernel": version, "memory": str(memory_needed_mib(unpacked, initrd.stat().st_size))}


def _extracted(tar: Path, name: str, workspace: Path) -> Path:
    target = workspace / "extracted"
    with tarfile.open(tar, "r:") as archive:
        content = archive.extractfile(f"./{name}")
        assert content is not None
        target.write_bytes(content.read())
    return target


def _empty(workspace: Path) -> Path:
    target = workspace / "empty.tar"
    with tarfile.open(target, "w:"):
        return target


def _copy(parts: list[Path], target: Path) -> Path:
    with target.open("wb") as stream:
        for part in parts:
            with part.open("rb") as content:
                at, size = 0, part.stat().st_size
                while at < size:
                    at += os.sendfile(stream.fileno(), content.fileno(), at, size - at)
    return target


def memory_needed_mib(unpacked_bytes: int, packed_bytes: int) -> int:
    """RAM a machine needs to boot it, in MiB.

    It is unpacked into a tmpfs that may have half of what memory there is beside the kernel and the packed initrd;
    a fiftieth is the kernel's list of pages.
    """
    return int((2 * unpacked_bytes + packed_bytes) / (1 << 20) * 1.02) + _KERNEL_MIB
