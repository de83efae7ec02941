"""The images a launch wants, brought to this host before it begins. Made by `app`, called by `vm` through a Protocol.

Only files of the file directory travel; a path elsewhere must exist on the host that launches. An image's backing files
are images it wants too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from megatools.hostkit.qemu.qcow2 import backing_file
from megatools.minimega.files.library import Library

_DEEPEST = 16


class Images:
    """Satisfies `vm.handlers.Images`."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def provide(self, paths: Iterable[str]) -> None:
        """Fetch what is missing of some absolute paths and of what they rest on. Raises NotFound, Unavailable."""
        wanted = {Path(path) for path in paths}
        seen: set[Path] = set()
        for _ in range(_DEEPEST):
            names = {path: self._library.store.name_of(path) for path in wanted}
            await self._library.ensure([name for path, name in names.items() if name and not path.exists()])
            seen |= wanted
            below = await asyncio.gather(*(asyncio.to_thread(backing_file, path) for path in wanted))
            wanted = {path for path in below if path is not None} - seen
            if not wanted:
                return
