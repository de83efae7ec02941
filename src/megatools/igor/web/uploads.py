r"""A request of the API as it comes over HTTPS: a line of JSON, then the files it refers to; used by `pages`.

::

    POST /api
    Igor-Files: 8388608,1048576         the sizes of the files, in their order; absent without files

    {"op": "submit", "kernel": 0, "initrd": 1, ...}\n
    <8388608 bytes><1048576 bytes>
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, Unavailable
from megatools.igor.api import wire

HEADER = "igor-files"


def sizes_of(header: str, largest: int) -> list[int]:
    """The sizes that the header announces, in bytes; raises InvalidInput."""
    words = [word.strip() for word in header.split(",")] if header.strip() else []
    if len(words) > wire.MAX_FILES:
        raise InvalidInput(f"a request has at most {wire.MAX_FILES} files, {len(words)} were announced")
    if not all(word.isascii() and word.isdigit() and len(word) <= 18 for word in words):
        raise InvalidInput(f'"{header}" is not a list of file sizes', hint=f"{HEADER}: 8388608,1048576")
    sizes = [int(word) for word in words]
    if any(size > largest for size in sizes):
        raise InvalidInput(f"a file has at most {largest} bytes, {max(sizes)} were announced")
    return sizes


class Upload:
    """A body being received: the line is kept, the files go to unnamed files in `folder`. A context manager."""

    def __init__(self, sizes: list[int], folder: Path) -> None:
        self._sizes = sizes
        self._folder = folder
        self._stack = ExitStack()
        self.line = b""
        self.files: list[int] = []

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def receive(self, chunks: AsyncIterator[bytes]) -> None:
        """Take a whole body; raises InvalidInput when it is not as announced, Unavailable when the disk is full."""
        rest = await self._receive_line(chunks)
        for size in self._sizes:
            rest = await self._receive_file(size, rest, chunks)
        if rest or await _more(chunks):
            raise InvalidInput("the request is longer than its line and the files it announces")

    async def _receive_line(self, chunks: AsyncIterator[bytes]) -> bytes:
        taken = bytearray()
        while b"\n" not in taken:
            chunk = await _more(chunks)
            taken += chunk
            if not chunk or len(taken) > wire.MAX_REQUEST_BYTES:
                break
        line, end, rest = bytes(taken).partition(b"\n")
        if len(line) > wire.MAX_REQUEST_BYTES or (not end and self._sizes):
            raise InvalidInput(f"the request must start with a line of at most {wire.MAX_REQUEST_BYTES} bytes")
        self.line = line
        return rest

    async def _receive_file(self, size: int, rest: bytes, chunks: AsyncIterator[bytes]) -> bytes:
        try:
            file = self._stack.enter_context(tempfile.TemporaryFile(dir=self._folder))  # noqa: SIM115 - the stack closes it
            left = size
            while left:
                rest = rest or await _more(chunks)
                if not rest:
                    raise InvalidInput(f"the request ends {left} bytes before the end of its files")
                part, rest = rest[:left], rest[left:]
                file.write(part)
                left -= len(part)
            file.flush()
            os.lseek(file.fileno(), 0, os.SEEK_SET)
        except OSError as error:
            raise Unavailable(f'cannot keep an uploaded file in "{self._folder}"') from error
        self.files.append(file.fileno())
        return rest


async def _more(chunks: AsyncIterator[bytes]) -> bytes:
    """The next bytes of a body; empty at its end."""
    async for chunk in chunks:
        if chunk:
            return chunk
    return b""
