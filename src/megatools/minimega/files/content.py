"""What a file's content is called: its size and the digests of its chunks. Used by the rest of `files` only.

A content's id is the BLAKE3 of its manifest, so that two files of one content have one id wherever they are, and each
chunk can be checked by itself (decision 18). Reading happens in the caller's thread: call from a worker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from blake3 import blake3

from megatools.hostkit.errors import InvalidState, NotFound, PermissionDenied, Unavailable

CHUNK_BYTES = 4 << 20
DIGEST_BYTES = 32


class Manifest(msgspec.Struct, frozen=True):
    """A content: its size in bytes, and the digests of its chunks of 4 MiB, joined; the last chunk may be short."""

    size: int
    digests: bytes

    @property
    def id(self) -> str:
        """The content's name: 64 hex digits."""
        return blake3(self.size.to_bytes(8, "big") + self.digests).hexdigest()

    @property
    def count(self) -> int:
        """How many chunks there are."""
        return len(self.digests) // DIGEST_BYTES

    def digest(self, number: int) -> bytes:
        """A chunk's digest."""
        return self.digests[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES]

    def span(self, first: int, count: int) -> tuple[int, int]:
        """The offset and the length in bytes of some chunks in a row."""
        offset = first * CHUNK_BYTES
        return offset, min(count * CHUNK_BYTES, self.size - offset)

    def well_formed(self) -> bool:
        """Whether the digests fit the size: what came from a peer is not believed."""
        return self.size >= 0 and len(self.digests) == DIGEST_BYTES * -(-self.size // CHUNK_BYTES)


class Version(msgspec.Struct, frozen=True):
    """What tells one state of a file from another without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int


def version_of(status: os.stat_result) -> Version:
    """The version that a stat result shows."""
    return Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def digest_at(descriptor: int, manifest: Manifest, number: int, buffer: bytearray) -> bytes:
    """The digest of a chunk as it is in an open file; `buffer` (4 MiB) is overwritten."""
    offset, length = manifest.span(number, 1)
    got = os.preadv(descriptor, [memoryview(buffer)[:length]], offset)
    return blake3(memoryview(buffer)[:got]).digest()


def whole_chunks(descriptor: int, manifest: Manifest, numbers: Iterable[int]) -> set[int]:
    """Which of some chunks are in an open file as the manifest says."""
    buffer = bytearray(CHUNK_BYTES)
    return {number for number in numbers if digest_at(descriptor, manifest, number, buffer) == manifest.digest(number)}


def read_manifest(path: Path) -> tuple[Version, Manifest]:
    """Read a file through. Raises NotFound, PermissionDenied, InvalidState when it is written to meanwhile."""
    try:
        with path.open("rb", buffering=0) as stream:
            before = version_of(os.fstat(stream.fileno()))
            digests = bytearray()
            buffer = memoryview(bytearray(CHUNK_BYTES))
            while got := _fill(stream.fileno(), buffer):
                digests += blake3(buffer[:got]).digest()
            after = version_of(os.fstat(stream.fileno()))
    except FileNotFoundError as error:
        raise NotFound(f'there is no file "{path}"') from error
    except PermissionError as error:
        raise PermissionDenied(f'cannot read "{path}"') from error
    except OSError as error:
        raise Unavailable(f'cannot read "{path}"') from error
    manifest = Manifest(before.size, bytes(digests))
    if before != after or not manifest.well_formed():
        raise InvalidState(f'"{path}" changes while it is read', hint="wait until it is complete")
    return before, manifest


def _fill(descriptor: int, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; returns the bytes read."""
    got = 0
    while got < len(buffer) and (more := os.readv(descriptor, [buffer[got:]])):
        got += more
    return got
