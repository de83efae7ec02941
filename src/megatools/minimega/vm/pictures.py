"""Keeping a screenshot as a file, on the host of the VM or on the one where it was asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from megatools.hostkit.errors import PermissionDenied
from megatools.hostkit.files import write_atomically


async def write_picture(path: Path, content: bytes) -> None:
    """Write a picture, in place of an older one; to a device like /dev/null nothing. Raises PermissionDenied."""
    if path.is_dir():
        raise PermissionDenied(f'cannot write "{path}"', hint="it is a directory")
    if not path.is_char_device():
        await asyncio.to_thread(write_atomically, path, content)
