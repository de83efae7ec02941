"""What a qcow2 image rests on, read from its header without starting a program.

Anyone may call it. Source: QEMU, docs/interop/qcow2.txt, "Header": big endian; version at 4, offset of the backing
file's name at 8, its length at 16.
"""

from __future__ import annotations

import struct
from pathlib import Path

_MAGIC = b"QFI\xfb"
_LONGEST = 1023


def backing_file(image: Path) -> Path | None:
    """The path of an image's backing file, made absolute; None for other files and images without one."""
    try:
        with image.open("rb") as stream:
            header = stream.read(20)
            if len(header) < 20 or header[:4] != _MAGIC:
                return None
            offset, length = struct.unpack_from(">QI", header, 8)
            if not offset or not 0 < length <= _LONGEST:
                return None
            stream.seek(offset)
            name = stream.read(length).decode(errors="surrogateescape")
    except OSError:
        return None
    if name.startswith("json:") or "://" in name:
        return None
    return Path(image.parent, name.removeprefix("file:")).absolute()
