"""Files that are whole or absent, and locks that end with their holder.

Anyone may call it. `write_atomically` survives a power cut; a `Lock` is the kernel's flock(2): it is gone the moment
its holder is, however the holder ended.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied, Unavailable


def write_atomically(path: Path, data: bytes | str, mode: int = 0o600) -> None:
    """Replace a file's content so that a reader, or a crash, sees the old or the new one, never a part.

    Text is written as UTF-8. Raises PermissionDenied or Unavailable when the directory does not take it.
    """
    import tempfile  # brings random, shutil and compression with it: only those who write pay for them

    content = data.encode() if isinstance(data, str) else data
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        temporary = ""
        sync_directory(path.parent)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def read_secret(path: str) -> str:
    """The first line of a file that others cannot read: a password.

    Raises NotFound, PermissionDenied (it cannot be read, or everybody can read it), InvalidInput (not text).
    """
    try:
        with Path(path).open("rb") as stream:
            if os.fstat(stream.fileno()).st_mode & 0o007:
                raise PermissionDenied(f'everybody may read the password in "{path}"', hint=f"chmod o= {path}")
            return stream.readline(4096).decode().rstrip("\r\n")
    except FileNotFoundError as error:
        raise NotFound(f'there is no password file "{path}"') from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f'the password file "{path}" is not text') from error
    except OSError as error:
        raise PermissionDenied(f'cannot read the password file "{path}"') from error


def sync_directory(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refused(path: Path, error: OSError) -> PermissionDenied | Unavailable:
    kind = PermissionDenied if isinstance(error, PermissionError) else Unavailable
    return kind(f'cannot write "{path}"')


class Lock:
    """An exclusive lock on a file that holds its holder's pid; one object per holder, not per try."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, blocking: bool = False) -> bool:
        """Take the lock; False when another process has it and `blocking` is off.

        Raises PermissionDenied or Unavailable when the file cannot be made.
        """
        if self.held:
            return True
        while True:
            descriptor = self._open()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if blocking else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            if self._is_current(descriptor):
                break
            os.close(descriptor)  # the last holder removed the file between our open and our lock: take the new one
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise _refused(self.path, error) from error

    def _is_current(self, descriptor: int) -> bool:
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        here = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def holder(self) -> int | None:
        """The pid of the process that holds the lock, here or elsewhere; None when nobody does."""
        if self.held:
            return os.getpid()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.pread(descriptor, 32, 0).strip()
            return int(content) if content.isdigit() else None
        else:
            return None
        finally:
            os.close(descriptor)

    def release(self, *, remove: bool = False) -> None:
        """Give the lock up, and with `remove` its file too; nothing happens when it is not held."""
        if self._descriptor is None:
            return
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def __enter__(self) -> Self:
        if not self.acquire():
            holder = self.holder()
            raise Unavailable(f'"{self.path}" is locked' + (f' by process "{holder}"' if holder else ""))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
