"""The content store: kernels and initrds below the TFTP root, once per content; `api` calls `stage`.

A file is read once, from a descriptor its owner opened, and hashed while it is copied: what was hashed is what is kept.
The copy waits as `igor/images/.incoming-*` until a change of the store adopts it; `sweep` removes what a crash left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, MegaError, PermissionDenied, Unavailable
from megatools.hostkit.units import format_bytes
from megatools.igor.boot import recognise
from megatools.igor.boot.kinds import Staged
from megatools.igor.model.config import Config
from megatools.igor.model.image import ContentHash, Image, ImageKind

INCOMING = ".incoming-"
_CHUNK = 1 << 20
_ABANDONED_S = 3600.0


def directory_of(config: Config) -> Path:
    """Where contents are kept."""
    return config.root / "igor" / "images"


def stage(descriptor: int, kind: ImageKind, called: str, config: Config) -> Staged:
    """See `kinds.Stage`."""
    size = _checked_size(descriptor, kind, called, config)
    directory = directory_of(config)
    temporary = ""
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        known = _kept_already(descriptor, size, kind, directory)
        if known is not None:
            return known
        _check_room(directory, size, called)
        temporary = _incoming(directory)
        copy = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            content, copied = _copied(descriptor, copy, kind, called, config.boot.max_image_bytes)
        finally:
            os.close(copy)
        staged = Staged(Image(content, copied, kind), Path(temporary))
        temporary = ""
        return staged
    except OSError as error:
        raise _refused(called, directory, error) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _kept_already(descriptor: int, size: int, kind: ImageKind, directory: Path) -> Staged | None:
    """A second name for a content that is kept already, instead of a second copy; it stays though the first one goes.

    Only where something of this size is kept, so that what is new is not read twice.
    """
    if size not in _sizes(directory):
        return None
    digest, at = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, _CHUNK, at):
        at += len(chunk)
        digest.update(chunk)
    content = ContentHash(digest.hexdigest())
    temporary = _incoming(directory)
    try:
        os.link(directory / content, temporary, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Staged(Image(content, at, kind), Path(temporary))


def _incoming(directory: Path) -> str:
    """A name that nobody has; modules made for this take longer to load than all of igor's."""
    return f"{directory}/{INCOMING}{os.urandom(12).hex()}"


def _sizes(directory: Path) -> set[int]:
    found: set[int] = set()
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(INCOMING):
                continue
            with contextlib.suppress(FileNotFoundError):  # removed this very moment
                found.add(entry.stat(follow_symlinks=False).st_size)
    return found


def sweep(config: Config, *, older_than_s: float = _ABANDONED_S) -> list[Path]:
    """Remove copies that nobody adopted; returns them."""
    limit = time.time() - older_than_s
    removed: list[Path] = []
    directory = directory_of(config)
    for path in sorted(directory.glob(f"{INCOMING}*")) if directory.is_dir() else ():
        try:
            if path.stat().st_mtime <= limit:
                path.unlink()
                removed.append(path)
        except FileNotFoundError:
            continue  # adopted, or swept by another, this very moment
    return removed


def _checked_size(descriptor: int, kind: ImageKind, called: str, config: Config) -> int:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInput(f'"{called}" is not a regular file')
    limit = config.boot.max_image_bytes
    if status.st_size > limit:
        raise InvalidInput(f'"{called}" has {format_bytes(status.st_size)}, the limit is {format_bytes(limit)}')
    head = os.pread(descriptor, recognise.HEAD_BYTES, 0)
    _check_kind(head, kind, called)
    return status.st_size


def _check_kind(head: bytes, kind: ImageKind, called: str) -> None:
    if recognise.fits(kind, head):
        return
    article = "a kernel" if kind is ImageKind.KERNEL else "an initrd"
    swapped = recognise.is_initrd(head) if kind is ImageKind.KERNEL else recognise.is_kernel(head)
    hint = "-k names the kernel and -i the initrd" if swapped else ""
    raise InvalidInput(f'"{called}" is not {article}: it is {recognise.description(head)}', hint=hint)


def _check_room(directory: Path, size: int, called: str) -> None:
    there = os.statvfs(directory)
    free = there.f_bavail * there.f_frsize
    if free < size:
        raise Unavailable(
            f'no room for "{called}" below the TFTP root: it has {format_bytes(size)}, {format_bytes(free)} are free',
            hint="delete reservations that nobody needs; igor check --repair removes unused images",
        )


def _copied(source: int, copy: int, kind: ImageKind, called: str, limit: int) -> tuple[ContentHash, int]:
    """Copy, hash and make durable; returns the hash and the number of bytes."""
    digest, at = hashlib.sha256(), 0
    while chunk := os.pread(source, _CHUNK, at):
        if at == 0:
            _check_kind(chunk[: recognise.HEAD_BYTES], kind, called)  # what is copied, whatever was there before
        at += len(chunk)
        if at > limit:
            raise InvalidInput(f'"{called}" grew past the limit of {format_bytes(limit)} while it was copied')
        digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(copy, view) :]
    os.fchmod(copy, 0o644)
    os.fsync(copy)
    return ContentHash(digest.hexdigest()), at


def _refused(called: str, directory: Path, error: OSError) -> MegaError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f'no room for "{called}" in "{directory}"')
    if isinstance(error, PermissionError):
        return PermissionDenied(f'cannot write to "{directory}"')
    return Unavailable(f'cannot copy "{called}" to "{directory}"')
