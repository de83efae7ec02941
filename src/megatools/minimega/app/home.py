"""The daemon's base directory: made safely, held by a lock, emptied at the end.

A lock, not the socket file, says that a daemon lives. The directory must be ours and nobody else's to write,
for it lies in a place such as /tmp where others could have made it first.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from megatools.hostkit.errors import AlreadyExists, PermissionDenied, Unavailable
from megatools.hostkit.files import Lock, write_atomically

SOCKET = "minimega"
PID_FILE = "minimega.pid"
LOCK_FILE = "minimega.lock"
JOURNAL = "journal.db"
_MODE = 0o711  # dnsmasq gives up root and must still pass through


class Home:
    """A base directory that this process holds."""

    def __init__(self, base: Path, files: Path) -> None:
        self.base = base
        self.files = files
        self.socket = base / SOCKET
        self.journal = base / JOURNAL
        self._lock = Lock(base / LOCK_FILE)

    def hold(self) -> None:
        """Make the directory and take its lock. Raises AlreadyExists when a daemon lives there."""
        _make_safely(self.base)
        if not self._lock.acquire():
            raise AlreadyExists(
                f'minimega appears to already be running on "{self.base}" (process {self._lock.holder()})',
                hint="use it with `minimega -attach` or `minimega -e`, or start another one with -base DIR",
            )
        self.files.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_atomically(self.base / PID_FILE, f"{os.getpid()}\n", 0o644)

    def leave(self) -> None:
        """Give the directory up with all that is in it: the VMs go on and will be adopted."""
        (self.base / PID_FILE).unlink(missing_ok=True)
        self._lock.release()

    def clear(self, *, keep_journal: bool) -> None:
        """Remove what a quitting daemon leaves no use for; the files directory stays while something is in it."""
        (self.base / PID_FILE).unlink(missing_ok=True)
        if not keep_journal:
            for name in (JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm"):
                (self.base / name).unlink(missing_ok=True)
        _remove_if_empty(self.files)
        _remove_if_empty(self.base / "namespaces")
        self._lock.release(remove=True)

    def vanish(self) -> None:
        """Remove the base directory itself if nothing is left in it; the socket must be closed."""
        _remove_if_empty(self.base)

    def wipe(self, *, everything: bool) -> None:
        """Remove all under the base directory but the files, with `everything` these too; the lock goes last."""
        for path in self.base.iterdir():
            if path == self._lock.path or (path == self.files and not everything):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != self.socket:
                path.unlink()
        self._lock.release(remove=True)


def _make_safely(base: Path) -> None:
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        base.mkdir(mode=_MODE, exist_ok=True)
        found = base.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionDenied(
                f'base directory "{base}" is not a directory of this user',
                hint="remove it, or choose another one with -base DIR",
            )
        base.chmod(_MODE)
    except OSError as error:
        raise Unavailable(f'cannot use base directory "{base}"', hint="choose another one with -base DIR") from error


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return  # not empty or not there: both are fine
