"""Which targets a command line asks for.

Called by the command line and the builder. To add a kind: a module of this folder with a class that is a `Target`,
its options in `Wanted`, and a line in `chosen`.
"""

from __future__ import annotations

import msgspec

from megatools.hostkit.errors import InvalidInput
from megatools.vmbetter.targets.initrd import InitrdTarget
from megatools.vmbetter.targets.target import Target


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


def chosen(wanted: Wanted) -> tuple[Target, ...]:
    """The targets, in the order they are made: kernel and initrd unless others were named. Raises InvalidInput."""
    found: list[Target] = []
    for name, asked in (("--disk", wanted.disk), ("--iso", wanted.iso), ("--rootfs", wanted.rootfs)):
        if asked:
            raise InvalidInput(f'option "{name}" is not available yet')
    if wanted.initrd or not found:
        found.insert(0, InitrdTarget(wanted.compress))
    return tuple(found)
