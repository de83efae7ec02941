"""Target: a disk image that boots on BIOS and UEFI machines, made without root, mounts or loop devices.

Called by the builder. Three GPT partitions::

    1  BIOS boot   1 MiB    GRUB for BIOS machines
    2  EFI system  64 MiB+  GRUB for UEFI machines, grub.cfg, kernel, starter initrd
    3  root        ext4     the tree
"""

from __future__ import annotations

import os
import tarfile
import uuid
from pathlib import Path
from typing import ClassVar

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets import ext4, fat, grub, initrd, newc, starter, tools
from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.targets.rootfs import unpacked_bytes, with_kernel
from megatools.vmbetter.targets.target import Made, Tree, deliver_files

FORMAT = 2
FORMATS = ("qcow2", "raw", "vmdk", "qcow")
ARGUMENTS = "console=tty0 console=ttyS0,115200 net.ifnames=0"
_MIB = 1 << 20
_SECTOR = 512
_BIOS_AT = _MIB
_SYSTEM_AT = 2 * _MIB
_BIOS_TYPE = "21686148-6449-6E6F-744E-656564454649"
_SYSTEM_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_FREE_BYTES = 256 * _MIB


class DiskTarget(msgspec.Struct, frozen=True):
    """A bootable disk; `size_bytes` 0 means what the tree needs and some more, `form` is one of FORMATS."""

    form: str = "qcow2"
    size_bytes: int = 0
    append: str = ""
    name: ClassVar[str] = "disk"

    def tools(self) -> list[str]:
        """The versions of the programs that make it."""
        convert = [] if self.form == "raw" else ["qemu-img"]
        return tools.versions("mke2fs", "debugfs", "sfdisk", "zstd", *grub.PROGRAMS, *convert)

    def identity(self) -> object:
        """The format, the options, the programs that make it and the busybox that may go into it."""
        return [FORMAT, self.form, self.size_bytes, self.append, *starter.ingredients(), *self.tools()]

    def make(self, tree: Tree, workspace: Path, *, epoch: int) -> Made:
        """A disk image. Raises InvalidInput when the tree has no kernel or does not fit."""
        return make(tree.tar(), workspace, self, epoch=epoch)

    def deliver(self, files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
        """NAME.qcow2, or as the format is called."""
        return deliver_files(files, delivery, name)


def make(tree: Path, workspace: Path, options: DiskTarget, *, epoch: int) -> Made:
    """A disk from a tree's tar (not compressed). Raises InvalidInput when the tree has no kernel or does not fit."""
    warnings: list[str] = []
    raw, root = workspace / "disk.raw", workspace / "root.ext4"
    with tarfile.open(tree, "r:") as archive:
        members = [member for member in archive.getmembers() if with_kernel(newc.name_of(member))]
        names = {newc.name_of(member): member for member in archive.getmembers()}
        ids = [ext4.identity(members, part) for part in ("disk", "bios", "system", "root", "ext4")]
        version = initrd.newest_kernel([name for name, member in names.items() if member.isreg()], warnings)
        files = _boot_files(archive, names[f"boot/vmlinuz-{version}"], version, workspace, epoch=epoch)
        system_bytes = _mib_up(sum(path.stat().st_size for path in files.values()) * 2 + 16 * _MIB, least=64 * _MIB)
        root_at = _SYSTEM_AT + system_bytes
        size = _size(options.size_bytes, root_at, ext4.needed_bytes(members))
        root_bytes = size - root_at - _MIB
        ext4.make(archive, members, root, workspace, size_bytes=root_bytes, name=ids[4], epoch=epoch)
    menu = workspace / "grub.cfg"
    arguments = f"root=UUID={ids[4]} rw {ARGUMENTS} {options.append}".rstrip()
    menu.write_text(grub.menu(kernel="/vmlinuz", initrd="/initrd.img", arguments=arguments))
    mark = f"/grub/{ids[0]}"
    (workspace / "mark").write_text("")
    files |= {"grub/grub.cfg": menu, mark[1:]: workspace / "mark"}
    grub.program("x86_64-efi", mark, workspace / "efi")
    grub.program("i386-pc", mark, workspace / "core")
    files["EFI/BOOT/BOOTX64.EFI"] = workspace / "efi"
    with raw.open("wb") as stream:
        stream.truncate(size)
    _partition(raw, ids, system_bytes, root_at, root_bytes)
    fat.make(raw, files, offset=_SYSTEM_AT, size_bytes=system_bytes, serial=ids[2].fields[0], epoch=epoch)
    grub.embed(workspace / "core", raw, at_sector=_BIOS_AT // _SECTOR)
    _copy_sparse(root, raw, root_at)
    root.unlink()
    made = {options.form: _converted(raw, options.form)}
    return Made(made, unpacked_bytes(members), tuple(warnings), {"kernel": version})


def _boot_files(
    archive: tarfile.TarFile, kernel: tarfile.TarInfo, version: str, workspace: Path, *, epoch: int
) -> dict[str, Path]:
    content = archive.extractfile(kernel)
    assert content is not None
    (workspace / "vmlinuz").write_bytes(content.read())
    starter.make(archive, version, workspace / "starter", wanted=starter.DISK_MODULES, epoch=epoch)
    return {"vmlinuz": workspace / "vmlinuz", "initrd.img": workspace / "starter"}


def _mib_up(size: int, *, least: int = 0) -> int:
    return max(least, -(-size // _MIB) * _MIB)


def _size(asked: int, root_at: int, needed: int) -> int:
    """The disk's size in bytes; the last MiB is the partition table's copy."""
    least = root_at + _mib_up(needed) + _MIB
    if not asked:
        return root_at + _mib_up(needed + max(_FREE_BYTES, needed // 4)) + _MIB
    if asked < least:
        hint = f"--size {least // _MIB}M is the least"
        raise InvalidInput(f"the tree does not fit into {asked // _MIB} MiB", hint=hint)
    return asked // _MIB * _MIB


def _partition(raw: Path, ids: list[uuid.UUID], system_bytes: int, root_at: int, root_bytes: int) -> None:
    rows = (
        (_BIOS_AT, _MIB, _BIOS_TYPE, ids[1], "bios"),
        (_SYSTEM_AT, system_bytes, _SYSTEM_TYPE, ids[2], "efi"),
        (root_at, root_bytes, _ROOT_TYPE, ids[3], "root"),
    )
    lines = ["label: gpt", f"label-id: {ids[0]}", "unit: sectors"]
    lines += [
        f"start={start // _SECTOR}, size={size // _SECTOR}, type={kind}, uuid={identity}, name={name}"
        for start, size, kind, identity, name in rows
    ]
    command = ["sfdisk", "-q", "--no-reread", "--no-tell-kernel", str(raw)]
    proc.run_sync(command, timeout_s=60, stdin="\n".join([*lines, ""]).encode())


def _copy_sparse(source: Path, target: Path, at: int) -> None:
    """Copy a file into another from an offset on, holes left alone."""
    with source.open("rb") as reading, target.open("r+b") as writing:
        end = os.fstat(reading.fileno()).st_size
        position = 0
        while position < end:
            try:
                start = os.lseek(reading.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            position = os.lseek(reading.fileno(), start, os.SEEK_HOLE)
            while start < position:
                copied = os.copy_file_range(reading.fileno(), writing.fileno(), position - start, start, at + start)
                start += copied


def _converted(raw: Path, form: str) -> Path:
    if form == "raw":
        return raw
    target = raw.with_suffix(f".{form}")
    proc.run_sync(["qemu-img", "convert", "-f", "raw", "-O", form, str(raw), str(target)], timeout_s=1800)
    raw.unlink()
    return target
