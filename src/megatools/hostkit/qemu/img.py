"""Disk images: their format, their size, and qcow2 overlays on top of them.

Used by the disk ring. Overlays over raw and qcow2 images are written here, without starting `qemu-img` (31 ms
each, facts.md section 2); other formats go through it. Source: docs/interop/qcow2.txt of QEMU. An overlay::

    cluster 0: header, extension (backing format), backing path | 1: refcount table | 2: refcount block | 3...: L1 table
"""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import Corrupt, InvalidInput, NotFound, PermissionDenied

CLUSTER_BYTES = 65536
_QCOW2 = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_EXTENSION = struct.Struct(">II")
_BACKING_FORMAT = 0xE2792ACA
_L2_SPAN = CLUSTER_BYTES * (CLUSTER_BYTES // 8)  # bytes of guest disk one L1 entry covers
_MAX_BACKING_PATH = 1023
_SECTOR = 512
_TIMEOUT_S = 60.0
_MAGICS = ((_QCOW2, "qcow2"), (b"KDMV", "vmdk"), (b"COWD", "vmdk"), (b"vhdxfile", "vhdx"), (b"conectix", "vpc"))


class _Info(msgspec.Struct, rename="kebab"):
    """What we read of `qemu-img info --output=json`."""

    format: str
    virtual_size: int


def format_of(path: Path) -> str:
    """The image's format by its first bytes, or raw. Raises NotFound, PermissionDenied, InvalidInput."""
    head = _head(path)
    return next((name for magic, name in _MAGICS if head.startswith(magic)), "raw")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(32)
    except FileNotFoundError:
        raise NotFound(f'no such image: "{path}"', hint="name a file on this host") from None
    except PermissionError:
        raise PermissionDenied(f'cannot read the image "{path}"') from None
    except OSError as error:
        raise InvalidInput(f'"{path}" is not an image') from error


async def virtual_size(path: Path, format_name: str) -> int:
    """The size of the disk a guest would see, in bytes. Raises CommandFailed or Corrupt for broken images."""
    if format_name == "raw":
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)  # block devices have no st_size
        except OSError as error:
            raise InvalidInput(f'"{path}" is not an image') from error
        return -(-size // _SECTOR) * _SECTOR
    if format_name == "qcow2":
        head = _head(path)
        if len(head) < 32:
            raise Corrupt(f'the qcow2 image "{path}" is cut short')
        return int.from_bytes(head[24:32], "big")
    asked = await proc.run(["qemu-img", "info", "--output=json", "-U", str(path)], timeout_s=_TIMEOUT_S)
    return msgspec.json.decode(asked.stdout, type=_Info).virtual_size


def overlay_bytes(backing: str, backing_format: str, size: int) -> tuple[bytes, int]:
    """The start of an empty qcow2 overlay and the length its file has; pure. `size` is in bytes.

    Raises InvalidInput when the backing path is longer than the format allows.
    """
    name = backing.encode()
    if len(name) > _MAX_BACKING_PATH:
        raise InvalidInput(f'path of the backing image "{backing}" is longer than {_MAX_BACKING_PATH} bytes')
    l1_entries = -(-size // _L2_SPAN)
    l1_clusters = max(1, -(-l1_entries * 8 // CLUSTER_BYTES))
    clusters = 3 + l1_clusters
    kind = backing_format.encode()
    extension = _EXTENSION.pack(_BACKING_FORMAT, len(kind)) + kind.ljust(-(-len(kind) // 8) * 8, b"\0") + bytes(8)
    name_at = _HEADER.size + len(extension)
    header = _HEADER.pack(
        *(_QCOW2, 3, name_at, len(name), 16, size, 0, l1_entries, 3 * CLUSTER_BYTES, CLUSTER_BYTES, 1, 0, 0),
        *(0, 0, 0, 4, _HEADER.size),
    )
    first = (header + extension + name).ljust(CLUSTER_BYTES, b"\0")
    table = struct.pack(">Q", 2 * CLUSTER_BYTES).ljust(CLUSTER_BYTES, b"\0")
    counts = struct.pack(">H", 1) * clusters
    return first + table + counts, clusters * CLUSTER_BYTES


async def create_overlay(path: Path, backing: Path) -> None:
    """A new qcow2 image whose reads fall through to `backing` (kept by absolute path). Raises as `format_of`."""
    absolute = backing.absolute()
    kind = format_of(absolute)
    if kind not in ("raw", "qcow2"):
        words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(absolute), "-F", kind, str(path)]
        await proc.run(words, timeout_s=_TIMEOUT_S)
        return
    start, length = overlay_bytes(str(absolute), kind, await virtual_size(absolute, kind))
    with path.open("xb") as file:
        file.write(start)
        file.truncate(length)
