"""Files below the TFTP root, made to agree with what the store says; used inside `store` only.

New content is written aside first (`stage`), where a full disk is found out before anything is decided; after the
commit it is renamed into place (`settle`), so that a node that is fetching a file sees the old or the new one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from megatools.hostkit.errors import PermissionDenied, Unavailable
from megatools.igor.model.image import BootFile, LinkTo

STAGED = "igor/.staged"
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


class Disk:
    """The tree below a TFTP root; the caller holds the store's lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._staged = root / STAGED

    def stage(self, number: int, path: str, wanted: BootFile) -> None:
        """Write what `path` shall be aside, under a number; raises Unavailable (a full disk) or PermissionDenied."""
        place = self._staged / str(number)
        try:
            self._make(place, wanted)
            self._directory((self.root / path).parent)
        except FileNotFoundError:
            self._try_again(place, path, wanted)
        except OSError as error:
            raise _refused(path, error) from error

    def _try_again(self, place: Path, path: str, wanted: BootFile) -> None:
        try:
            self._staged.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make(place, wanted)
            self._directory((self.root / path).parent)
        except OSError as error:
            raise _refused(path, error) from error

    def _make(self, place: Path, wanted: BootFile) -> None:
        if isinstance(wanted, LinkTo):
            os.link(self.root / wanted.path, place, follow_symlinks=False)
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(place, flags, FILE_MODE)
        try:
            os.fchmod(descriptor, FILE_MODE)
            rest = memoryview(wanted)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)

    def _directory(self, place: Path) -> None:
        if place.is_dir():
            return
        for parent in (*reversed(place.relative_to(self.root).parents[:-1]), place.relative_to(self.root)):
            directory = self.root / parent
            if not directory.is_dir():
                directory.mkdir(DIRECTORY_MODE, exist_ok=True)
                directory.chmod(DIRECTORY_MODE)

    def settle(self, number: int, path: str) -> None:
        """Move what was staged under a number to its place."""
        staged = self._staged / str(number)
        try:
            os.replace(staged, self.root / path)
            staged.unlink(missing_ok=True)  # rename(2) does nothing when both already are the same file
        except OSError as error:
            raise _refused(path, error) from error

    def remove(self, path: str) -> None:
        """Make `path` absent."""
        try:
            (self.root / path).unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise _refused(path, error) from error

    def sweep(self) -> None:
        """Remove what a crash left staged."""
        for place in self._leftovers():
            place.unlink(missing_ok=True)

    def _leftovers(self) -> Iterator[Path]:
        try:
            names = os.listdir(self._staged)
        except FileNotFoundError:
            return
        for name in names:
            yield self._staged / name

    def agrees(self, path: str, wanted: BootFile) -> str:
        """How `path` differs from what it shall be; empty when it does not."""
        place = self.root / path
        try:
            found = place.lstat()
            if not stat.S_ISREG(found.st_mode):
                return "is not a regular file"
            if isinstance(wanted, LinkTo):
                other = (self.root / wanted.path).lstat()
                same = (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino)
                return "" if same else f'is not the file "{wanted.path}"'
            if found.st_mode & 0o444 != 0o444:
                return "cannot be read by the TFTP server"
            return "" if place.read_bytes() == wanted else "differs"
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"cannot be read ({error.strerror})"


def _refused(path: str, error: OSError) -> PermissionDenied | Unavailable:
    if isinstance(error, PermissionError):
        return PermissionDenied(f'cannot write "{path}" below the TFTP root', hint="igor's service can: igor serve")
    return Unavailable(f'cannot write "{path}" below the TFTP root')
