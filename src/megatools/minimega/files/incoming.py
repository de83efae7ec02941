"""A content on its way to this host: a sparse file of its full size, and which chunks of it are there.

Used by `swarm`. What an interrupted transfer left is found again by the content's id and believed chunk by chunk, after
reading: so nothing about it needs to be written down, and a crash or a damaged disk costs only what it damaged.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Collection
from pathlib import Path

from megatools.hostkit.errors import Unavailable
from megatools.minimega.files.content import Manifest, whole_chunks


class Incoming:
    """The chunks of one content so far; `close` keeps them for later, `discard` does not."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.have: set[int] = set()
        self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """The open file to write chunks to."""
        return self._descriptor

    @property
    def complete(self) -> bool:
        """Whether all is there."""
        return len(self.have) == self.manifest.count

    @property
    def bytes_here(self) -> int:
        """How many bytes are there."""
        return sum(self.manifest.span(number, 1)[1] for number in self.have)

    async def open(self) -> None:
        """Make the file, with its whole size reserved, or find what is left of it. Raises Unavailable: disk full."""
        await asyncio.to_thread(self._open)

    async def check(self, chunks: Collection[int]) -> set[int]:
        """Which of the chunks just written are right; they count from now on."""
        right = await asyncio.to_thread(whole_chunks, self._descriptor, self.manifest, chunks)
        self.have |= right
        return right

    def bitmap(self) -> bytes:
        """Which chunks are there, a bit each, the first in the lowest bit."""
        number = 0
        for chunk in self.have:
            number |= 1 << chunk
        return number.to_bytes(-(-self.manifest.count // 8), "little")

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Let go of the file and remove it."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _open(self) -> None:
        left = self.path.exists()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.ftruncate(self._descriptor, self.manifest.size)
            if self.manifest.size:
                os.posix_fallocate(self._descriptor, 0, self.manifest.size)
        except OSError as error:
            self.discard()
            if error.errno == errno.ENOSPC:
                size = self.manifest.size >> 20
                raise Unavailable(f"no room for {size} MiB in {self.path.parent}", hint="free some space") from error
            raise Unavailable(f"cannot write in {self.path.parent}") from error
        if left:
            self.have = whole_chunks(self._descriptor, self.manifest, range(self.manifest.count))


def chunks_of(bitmap: bytes, count: int) -> set[int]:
    """The chunks a bitmap names."""
    number = int.from_bytes(bitmap, "little")
    return {chunk for chunk in range(count) if number >> chunk & 1}
