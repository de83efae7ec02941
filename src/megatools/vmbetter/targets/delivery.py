"""Results on their way to where they are wanted: all copied aside first, then all moved into place at once.

Called by the builder and the targets. So a full disk, an error or a signal leaves the results of the last build, all of
them; the moves themselves are not interrupted, and undone when one fails. What a killed build left aside is removed by
the next one.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from megatools.hostkit import signals
from megatools.hostkit.bootstrap import sandbox
from megatools.hostkit.errors import AlreadyExists, Unavailable
from megatools.hostkit.files import sync_directory


class Delivery:
    """What is to be put into a directory; to be used in a `with`, in which `put` is called at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._moves: list[tuple[Path, Path]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for aside, _ in self._moves:
            _remove(aside)

    def file(self, source: Path, name: str) -> Path:
        """Copy a file, to be NAME with mode 0644, holes kept; where it will be."""
        target = self.directory / name
        aside = self._aside(target)
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as stream, source.open("rb") as content:
                _copy_data(content.fileno(), stream.fileno(), os.fstat(content.fileno()).st_size)
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())  # else a power cut could leave an empty one in place of the old
        except OSError as error:
            raise Unavailable(f'cannot write "{target}"') from error
        return target

    def data(self, content: bytes, target: Path) -> None:
        """Write a file anew."""
        aside = self._aside(target)
        try:
            with aside.open("wb") as stream:
                os.fchmod(stream.fileno(), 0o644)
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise Unavailable(f'cannot write "{target}"') from error

    def folder(self, name: str) -> tuple[Path, Path]:
        """Where a folder is to be made that shall be NAME, and where it will be.

        Raises InvalidState when something is mounted in the folder that it replaces.
        """
        target = self.directory / name
        sandbox.check_unmounted(target)
        return self._aside(target, folder=True), target

    def put(self) -> None:
        """Move all into place, or none: what is there stays beside it until all are.

        Raises Unavailable, and InvalidState as `folder` does.
        """
        for _, target in self._moves:
            if target.is_dir():
                sandbox.check_unmounted(target)
            _remove(_old(target))
        with signals.held():
            begun: list[Path] = []
            placed: dict[Path, Path] = {}
            try:
                for aside, target in self._moves:
                    begun.append(target)
                    _set_aside(target)
                    aside.rename(target)
                    placed[target] = aside
                for directory in {target.parent for _, target in self._moves}:
                    sync_directory(directory)
            except OSError as error:
                for target in reversed(begun):
                    _undo(target, placed.get(target))
                raise Unavailable(f'cannot write "{begun[-1]}"') from error
        for _, target in self._moves:
            _remove(_old(target))

    def _aside(self, target: Path, *, folder: bool = False) -> Path:
        old = _old(target)
        if old.exists() and not target.exists():  # killed between two moves
            old.rename(target)
        if target.is_dir() and not folder:
            raise AlreadyExists(f'"{target}" is a folder', hint="move it away, or choose another name with --output")
        aside = target.with_name(f".{target.name}.new-{os.getpid()}")
        for left in target.parent.glob(f".{target.name}.new-*"):
            pid = left.name.rpartition("-")[2]
            if left == aside or not (pid.isdigit() and Path("/proc", pid).exists()):
                _remove(left)
        self._moves.append((aside, target))
        return aside


def _set_aside(target: Path) -> None:
    """Keep what has this name now, a file in its place too if the file system can, so that it is never absent."""
    if target.is_dir() and not target.is_symlink():
        target.rename(_old(target))
    elif target.exists() or target.is_symlink():
        try:
            os.link(target, _old(target), follow_symlinks=False)
        except OSError:  # no hard links there
            target.rename(_old(target))


def _undo(target: Path, aside: Path | None) -> None:
    """Have a target as it was before; a new one that is in its place goes back to where it was made."""
    old = _old(target)
    if aside is not None:
        target.rename(aside)
    if target.exists() or target.is_symlink():  # it was not even moved away: at most another link to it was made
        old.unlink(missing_ok=True)
    elif old.exists() or old.is_symlink():
        old.rename(target)


def _old(target: Path) -> Path:
    return target.with_name(f".{target.name}.old")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        sandbox.remove(path)
    else:
        path.unlink(missing_ok=True)


def _copy_data(source: int, target: int, size: int) -> None:
    """Copy what is not a hole, between descriptors, in the kernel."""
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        end = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at, os.SEEK_SET)
        while at < end:
            copied = os.sendfile(target, source, at, end - at)
            if not copied:
                break
            at += copied
    os.ftruncate(target, size)
