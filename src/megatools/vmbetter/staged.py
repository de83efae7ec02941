"""The original's two halves of a build, kept for those who use them: `-1` leaves the tree, `-2 DIR` goes on from one.

Called by the builder. A tree on disk is changed in place by `-2`, and nothing of it is cached.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.bootstrap.sandbox import check_usable, contained
from megatools.hostkit.errors import AlreadyExists
from megatools.vmbetter import tree
from megatools.vmbetter.config.recipe import Recipe
from megatools.vmbetter.events import Reporter
from megatools.vmbetter.stages import postbuild
from megatools.vmbetter.stages.postbuild import Workplace
from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.tree import Layer, Member


class FolderTree:
    """A tree that was packed from a folder: it has no layers."""

    layer: Layer | None = None

    def __init__(self, tar: Path) -> None:
        self._tar = tar

    def tar(self) -> Path:
        """The whole tree as a plain tar."""
        return self._tar

    def base_tar(self) -> Path:
        """The same."""
        return self._tar

    def base_members(self) -> list[Member]:
        """Its index."""
        return tree.index(self._tar)

    def of_base(self, identity: object, make: Callable[[Path], Path]) -> Path:
        """Made each time."""
        return make(self._tar)


def check_new(folder: Path) -> None:
    """Raise AlreadyExists when the folder that `-1` is to leave is there: it may hold somebody's work."""
    if folder.exists() or folder.is_symlink():
        raise AlreadyExists(f'"{folder}" is there already', hint="remove it first")


def unpack(tar: Path, delivery: Delivery, name: str) -> Path:
    """Have a tree delivered as a new folder. Raises AlreadyExists."""
    aside, folder = delivery.folder(name)
    check_new(folder)
    aside.mkdir()
    postbuild.unpack(tar, aside)
    return folder


def finish(
    folder: Path, recipe: Recipe, workspace: Path, reporter: Reporter, epoch: int, timeout_s: float
) -> tuple[FolderTree, str]:
    """Run the postbuild scripts in a folder, then pack it; the tree, and a key that nothing else has."""
    check_usable()
    place = workspace / "postbuild"
    (place / "mounted").mkdir(parents=True)
    (place / "whole").symlink_to(folder.resolve())
    postbuild.run_scripts(recipe.postbuilds, Workplace(place), reporter, epoch=epoch, timeout_s=timeout_s)
    raw, tar = workspace / "folder.tar", workspace / "whole.tar"
    words = ["tar", "-c", "--format=posix", "--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
    dates = [f"--mtime=@{epoch}", "--clamp-mtime", "--pax-option=delete=atime,delete=ctime"]
    proc.run_sync(contained([*words, *dates, "-f", str(raw), "-C", str(folder), "."]), timeout_s=1800)
    raw.rename(tar)
    return FolderTree(tar), uuid.uuid4().hex
