"""Kernels, initrds, profiles, and the files that boot them; any part of igor may use it."""

from __future__ import annotations

import enum
from typing import NewType, TypeAlias

import msgspec

ContentHash = NewType("ContentHash", str)
"""The SHA-256 of a file's content, 64 lower-case hexadecimal digits."""


class ImageKind(enum.Enum):
    """What a stored file is for."""

    KERNEL = "kernel"
    INITRD = "initrd"


class Image(msgspec.Struct, frozen=True):
    """A kernel or initrd, kept once per content as `<tftproot>/igor/images/<hash>`."""

    hash: ContentHash
    size: int
    kind: ImageKind

    def path(self) -> str:
        """Where it is, relative to the TFTP root."""
        return image_path(self.hash)


def image_path(content: ContentHash) -> str:
    """Where a content is kept, relative to the TFTP root."""
    return f"igor/images/{content}"


class Profile(msgspec.Struct, frozen=True):
    """A named kernel, initrd and arguments; `public` profiles may be used by all, others by their owner and admins."""

    name: str
    owner: str
    kernel: ContentHash
    initrd: ContentHash
    args: str = ""
    public: bool = True


class LinkTo(msgspec.Struct, frozen=True):
    """A file that is another one (a hard link): `path` is relative to the TFTP root."""

    path: str


BootFile: TypeAlias = bytes | LinkTo
"""What a file below the TFTP root must be: these bytes, or the same file as another one."""
