"""What a node that is limited to a namespace gets of this host's files. Used by `sharing`.

Files belong to no namespace, so such a node may not look around in them. It gets what it cannot do without: the images,
with what they rest on, of VMs that this host has launched over the namespace's hosts and that are not up yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from megatools.hostkit.errors import PermissionDenied
from megatools.hostkit.qemu.qcow2 import backing_file
from megatools.minimega.files.store import FileStore
from megatools.minimega.mesh.mesh import Caller

# The absolute paths of the images that launches of a namespace, driven from here, wait for now.
Awaited: TypeAlias = Callable[[str], Iterable[str]]


class Lending:
    """Says what a caller may have; `awaited` is set by whoever knows of launches."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.awaited: Awaited = lambda _: ()
        self._promised: dict[str, set[str]] = {}  # contents, by namespace

    async def check_name(self, caller: Caller, name: str) -> None:
        """Raise PermissionDenied unless a node may know of the file with this name."""
        if caller.namespace and name not in await asyncio.to_thread(self._names, tuple(self.awaited(caller.namespace))):
            raise _refusal(caller)

    def promise(self, caller: Caller, content: str) -> None:
        """A node was told what is in a file that it may have."""
        if caller.namespace:
            self._promised.setdefault(caller.namespace, set()).add(content)

    def check_content(self, caller: Caller, content: str) -> None:
        """Raise PermissionDenied unless a node may have this content."""
        if caller.namespace and content not in self._promised.get(caller.namespace, ()):
            raise _refusal(caller)

    def _names(self, images: Iterable[str]) -> set[str]:
        """The names of images and of all they rest on, as far as these are in the file directory."""
        names: set[str] = set()
        waiting = [Path(image) for image in images]
        while waiting:
            path = waiting.pop()
            name = self._store.name_of(path)
            if name is None or name in names:
                continue
            names.add(name)
            below = backing_file(path)
            waiting += [below] if below is not None else []
        return names


def _refusal(caller: Caller) -> PermissionDenied:
    return PermissionDenied(
        f'node "{caller.name}" may not see the files of other hosts',
        hint=f'its certificate is for namespace "{caller.namespace}": it gets the images of VMs that are launched '
        "there, from the host that launches them",
    )
