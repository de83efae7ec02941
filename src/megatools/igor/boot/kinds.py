"""What the engine needs of boot files and of stored kernels; `boot`'s modules provide it, `run` and `api` call it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec

from megatools.igor.model.config import Config
from megatools.igor.model.host import Host
from megatools.igor.model.image import BootFile, Image, ImageKind
from megatools.igor.model.reservation import Reservation


class Staged(msgspec.Struct, frozen=True):
    """A kernel or initrd copied below the TFTP root but not yet under its final name: `Change.adopt` moves it there."""

    image: Image
    temporary: Path


Layout: TypeAlias = Callable[[Reservation, Sequence[Host], Config], Mapping[str, BootFile]]
"""The files one reservation puts below the TFTP root (`boot.layout.files_for`).

Pure. The hosts are the reservation's nodes in order, each with a MAC or an address; keys are paths relative to the
TFTP root, such as `pxelinux.cfg/0A00005B`, `pxelinux.cfg/igor/NAME`, `igor/NAME-kernel` (a LinkTo the image).
"""

Stage: TypeAlias = Callable[[int, ImageKind, str, Config], Staged]
"""Copy a file into the content store (`boot.content.stage`); the text is what the user calls the file.

Reads the open descriptor from its start to its end once, hashing while copying, into a temporary file in the directory
of the final one (named `.incoming-*`, mode 0644). Raises InvalidInput (not a kernel, not an initrd, not a regular
file, larger than the limit), Unavailable (the disk is full).
"""
