"""Folders of the cache that are in use by somebody who has let go of the cache: a shell in a tree.

Called by the cache, the assembly and the shell, with the cache held. A claim is flock(2) on the folder itself: it ends
with the last process that has the descriptor, however that ends, and leaves nothing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def claim(folder: Path, *, shared: bool = False) -> int | None:
    """A descriptor that claims a folder until it is closed; None when somebody else has claimed it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_claimed(folder: Path) -> bool:
    """Whether somebody uses a folder; a path where there is none is not in use."""
    if not folder.is_dir():
        return False
    descriptor = claim(folder)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
