"""Which targets a command line asks for.

Called by the command line and the builder. To add a kind: a module of this folder with a class that is a `Target`,
its options in `Wanted`, and a line in `chosen`.
"""

from __future__ import annotations

import msgspec

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.units import parse_bytes
from megatools.vmbetter.targets import compressor, grub
from megatools.vmbetter.targets.disk import FORMATS, DiskTarget
from megatools.vmbetter.targets.initrd import InitrdTarget
from megatools.vmbetter.targets.iso import IsoTarget
from megatools.vmbetter.targets.rootfs import RootfsTarget, TarTarget
from megatools.vmbetter.targets.target import Target

_BOOT_LOADERS_FOR = ("amd64", "i386", "x86_64", "i686")  # Debian's names, and the kernel's


class Wanted(msgspec.Struct, frozen=True):
    """The options of all targets, as they were given; empty means the target's default."""

    initrd: bool = False
    compress: str = ""
    disk: bool = False
    disk_format: str = ""
    size: str = ""
    iso: bool = False
    rootfs: bool = False
    rootfs_tar: bool = False
    append: str = ""


def chosen(wanted: Wanted, architecture: str = "amd64") -> tuple[Target, ...]:
    """The targets, in the order they are made: kernel and initrd unless others were named. Raises InvalidInput."""
    _check(wanted)
    found: list[Target] = []
    if (wanted.disk or wanted.iso) and architecture not in _BOOT_LOADERS_FOR:
        text = f'disks and ISO images are made for amd64 only, not for "{architecture}"'
        raise InvalidInput(text, hint="build its initrd, or a --rootfs-tar")
    if wanted.disk:
        found.append(_disk(wanted))
    if wanted.iso:
        found.append(IsoTarget(wanted.append))
    if wanted.rootfs:
        found.append(RootfsTarget())
    if wanted.rootfs_tar:
        found.append(TarTarget())
    if wanted.initrd or not found:
        found.insert(0, InitrdTarget(compressor.parse(wanted.compress)))
    return tuple(found)


def _check(wanted: Wanted) -> None:
    """Raise InvalidInput for options that say something of a target that is not asked for."""
    if (wanted.size or wanted.disk_format) and not wanted.disk:
        raise InvalidInput("a size or a format is that of a disk", hint="ask for one with --disk")
    if wanted.append and not (wanted.disk or wanted.iso):
        hint = "ask for one with --disk or --iso; those of an initrd are given where it is booted"
        raise InvalidInput("words for the kernel are those of a disk or an ISO image", hint=hint)
    grub.quoted(wanted.append)
    others = wanted.disk or wanted.iso or wanted.rootfs or wanted.rootfs_tar
    if wanted.compress and others and not wanted.initrd:
        raise InvalidInput("a compression is that of an initrd", hint="ask for one with --initrd")
    compressor.parse(wanted.compress)


def _disk(wanted: Wanted) -> DiskTarget:
    form = wanted.disk_format or "qcow2"
    if form not in FORMATS:
        raise InvalidInput(f'disk format "{form}" is unknown', hint=f"one of {', '.join(FORMATS)}")
    return DiskTarget(form, parse_bytes(wanted.size) if wanted.size else 0, wanted.append)
