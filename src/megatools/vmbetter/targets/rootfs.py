"""Targets: the tree itself, as a tar file or as a folder (a container's root).

Called by the builder; `filtered` by the ISO target too. What must not be the same on two machines is left out here
too.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import AlreadyExists
from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.targets.initrd import belongs
from megatools.vmbetter.targets.newc import name_of
from megatools.vmbetter.targets.target import Made, Tree, deliver_files

FORMAT = 2


def with_kernel(name: str) -> bool:
    """Whether a path belongs in an image that is a whole system, kernels included."""
    return belongs(name) or (name.startswith("boot/") and not name.startswith("boot/initrd.img"))


def filtered(tree: Path, target: Path, *, epoch: int, keep: Callable[[str], bool]) -> None:
    """Write the members of a tar that `keep` wants, sorted, times at most `epoch`, into another."""
    with (
        tarfile.open(tree, "r:") as archive,
        tarfile.open(target, "w:", format=tarfile.PAX_FORMAT, errors="surrogateescape") as made,
    ):
        # hard links come after what they are other names for
        for member in sorted(archive.getmembers(), key=lambda member: (member.islnk(), name_of(member))):
            if not keep(name_of(member)):
                continue
            member.mtime = min(int(member.mtime), epoch)
            member.pax_headers = {key: text for key, text in member.pax_headers.items() if key.startswith("SCHILY.")}
            made.addfile(member, archive.extractfile(member) if member.isreg() else None)


def unpacked_bytes(members: list[tarfile.TarInfo]) -> int:
    """How large they are once unpacked."""
    return sum(member.size for member in members if member.isreg())


class TarTarget(msgspec.Struct, frozen=True):
    """The tree as one tar file, with owners, device nodes and extended attributes."""

    name: ClassVar[str] = "rootfs-tar"

    def tools(self) -> list[str]:
        """None: it is made here."""
        return []

    def identity(self) -> object:
        """The format."""
        return FORMAT

    def make(self, tree: Tree, workspace: Path, *, epoch: int) -> Made:
        """The tar file."""
        target = workspace / "rootfs.tar"
        filtered(tree.tar(), target, epoch=epoch, keep=with_kernel)
        with tarfile.open(target, "r:") as made:
            return Made({"tar": target}, unpacked_bytes(made.getmembers()))

    def deliver(self, files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
        """NAME.tar."""
        return deliver_files(files, delivery, name)


class RootfsTarget(TarTarget, frozen=True):
    """The tree as a folder; kept in the cache as the tar it is unpacked from."""

    name: ClassVar[str] = "rootfs"

    def deliver(self, files: dict[str, Path], delivery: Delivery, name: str) -> dict[str, Path]:
        """NAME_rootfs, whole or as it was. Raises AlreadyExists when something that is no tree has this name."""
        aside, target = delivery.folder(f"{name}_rootfs")
        if (target.exists() or target.is_symlink()) and not looks_like_tree(target):
            raise AlreadyExists(f'"{target}" exists and is no tree of files', hint="move it away")
        unpack(files["tar"], aside)
        return {"rootfs": target}


def unpack(archive: Path, target: Path) -> None:
    """Unpack a tar into a new folder. An ordinary user gets no device nodes, and owns everything."""
    target.mkdir()
    command = ["tar", "-x", "-p", "-f", str(archive), "-C", str(target), "--xattrs", "--xattrs-include=user.*"]
    if os.geteuid() == 0:
        own = ["--xattrs-include=security.capability", "--numeric-owner"]
    else:
        own = ["--no-same-owner", "--exclude=./dev/*", "--exclude=dev/*"]
    proc.run_sync([*command, *own], timeout_s=1800)


def looks_like_tree(folder: Path) -> bool:
    """Whether a folder is a tree unpacked earlier, so that a new one may replace it."""
    return not folder.is_symlink() and all((folder / name).is_dir() for name in ("etc", "usr", "proc"))
