"""What a VM's disks become on its host: overlays in snapshot mode, the files themselves otherwise.

Used by VM backends. A missing or unreadable image is an error here, before anything is started.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied
from megatools.hostkit.qemu import img


@dataclass(frozen=True)
class ReadyDisk:
    """A file to open and its format."""

    path: Path
    format: str


async def ready_disks(paths: Sequence[str], directory: Path, *, snapshot: bool) -> list[ReadyDisk]:
    """Each image as it is to be opened; in snapshot mode a fresh overlay `<directory>/disk-N.qcow2` over it.

    Raises NotFound, PermissionDenied or InvalidInput naming the image; overlays already made stay in the directory.
    """
    ready: list[ReadyDisk] = []
    for number, text in enumerate(paths):
        image = Path(text)
        if not snapshot:
            ready.append(ReadyDisk(image, writable_format(image)))
            continue
        overlay = directory / f"disk-{number}.qcow2"
        overlay.unlink(missing_ok=True)
        await img.create_overlay(overlay, image)
        ready.append(ReadyDisk(overlay, "qcow2"))
    return ready


def writable_format(image: Path) -> str:
    """The format of an image that will be written to; raises PermissionDenied when it cannot be."""
    kind = img.format_of(image)
    if not os.access(image, os.W_OK):
        raise PermissionDenied(f'cannot write the image "{image}"', hint="vm config snapshot true writes to an overlay")
    return kind


def check_readable(what: str, path: str) -> None:
    """Whether a file is there and can be read; `what` is its role. Raises NotFound, InvalidInput, PermissionDenied."""
    if not Path(path).exists():
        raise NotFound(f'no such {what}: "{path}"', hint="vm config shows the path; name a file on this host")
    if Path(path).is_dir():
        raise InvalidInput(f'{what} "{path}" is a directory', hint="name a file")
    if not os.access(path, os.R_OK):
        raise PermissionDenied(f'cannot read {what} "{path}"', hint="run minimega as a user who can")
