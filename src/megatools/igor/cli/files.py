"""Opening what the user names, with the user's own rights; the engine is given the open files."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, PermissionDenied, Unavailable


@contextmanager
def opened(*paths: str | None) -> Generator[tuple[list[int], list[int]]]:
    """Open some files for the time of the block: their descriptors, and for each path its position among them or -1.

    Raises NotFound, PermissionDenied, InvalidInput (not a regular file) or Unavailable, naming the file.
    """
    descriptors: list[int] = []
    positions: list[int] = []
    try:
        for path in paths:
            if not path:
                positions.append(-1)
                continue
            positions.append(len(descriptors))
            descriptors.append(_open(path))
        yield descriptors, positions
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _refused(path, error) from error
    if not Path(f"/proc/self/fd/{descriptor}").is_file():
        os.close(descriptor)
        raise InvalidInput(f'"{path}" is not a regular file')
    return descriptor


def _refused(path: str, error: OSError) -> MegaError:
    if isinstance(error, FileNotFoundError):
        return NotFound(f'there is no "{path}"')
    if isinstance(error, PermissionError):
        return PermissionDenied(f'you cannot read "{path}"')
    return Unavailable(f'cannot open "{path}"')


def image_files(image: str) -> tuple[str, str]:
    """The kernel and initrd of a vmbetter image, named by its stem: `kane_host` has `.kernel` and `.initrd`."""
    stem = image.removesuffix(".kernel").removesuffix(".initrd")
    return f"{stem}.kernel", f"{stem}.initrd"
