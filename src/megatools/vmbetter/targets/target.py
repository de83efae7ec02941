"""What a target is: something a finished tree is turned into. The builder knows targets through this alone.

A target is made by the registry from what was asked on the command line, is cached under its `identity`, and says how
its files are named. One file of this folder for each kind.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

import msgspec

from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.tree import Layer, Member


class Tree(Protocol):
    """The finished tree, as targets read it: whole, or as the packages' tree with a layer over it."""

    layer: Layer | None

    def tar(self) -> Path:
        """The whole tree as a plain (not compressed) tar: names begin with `./`, extended attributes are pax's."""
        ...

    def base_tar(self) -> Path:
        """The packages' tree alone, as a plain tar."""
        ...

    def base_members(self) -> list[Member]:
        """The index of the packages' tree; quick."""
        ...

    def of_base(self, identity: object, make: Callable[[Path], Path]) -> Path:
        """A file that depends on the packages' tree and `identity` alone: cached, or made (given the plain tar)."""
        ...


class Made(msgspec.Struct, frozen=True):
    """What a target made, in the workspace: files by the suffix of the result (`NAME.<suffix>`).

    `notes` are kept with the files; `unpacked` (bytes of the tree) is asked for. Warnings are shown once, when made.
    """

    files: dict[str, Path]
    unpacked_bytes: int
    warnings: tuple[str, ...] = ()
    notes: dict[str, str] = {}


class Target(Protocol):
    """One kind of result, with its options."""

    name: ClassVar[str]  # the kind, as people read it: initrd, disk, iso, rootfs

    def tools(self) -> list[str]:
        """The programs that make it, with their versions, as people read them; part of the identity."""
        ...

    def identity(self) -> object:
        """All that decides the result beside the tree, as JSON's types: format number, options, tool versions."""
        ...

    def make(self, tree: Tree, workspace: Path, *, epoch: int) -> Made:
        """Turn a tree into files of the workspace. Same tree, identity and epoch: same bytes."""
        ...

    def deliver(self, files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
        """Hand cached files, by suffix, to a delivery; where they will be, by suffix."""
        ...


def deliver_files(files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
    """What `deliver` usually is: `NAME.<suffix>` for each file."""
    return {suffix: delivery.file(source, f"{name}.{suffix}") for suffix, source in files.items()}
