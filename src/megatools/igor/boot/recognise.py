"""Whether a file's first bytes are those of a kernel, or of an initrd; pure, used by `boot.content`.

Kernels: Linux/x86 boot protocol (Documentation/arch/x86/boot.rst: "HdrS" at 0x202), Linux/arm64 and riscv (Image
header, magic at 0x38), EFI programs (PE/COFF: "MZ" and "PE"). Initrds: cpio "newc", plain or in a compression Linux
unpacks.
"""

from __future__ import annotations

import struct

from megatools.igor.model.image import ImageKind

HEAD_BYTES = 4096
_X86_MAGIC = (0x202, b"HdrS")
_IMAGE_MAGICS = ((0x38, b"ARM\x64"), (0x38, b"RSC\x05"))
_PE_OFFSET = 0x3C
_ARCHIVES = {
    b"070701": "cpio",
    b"070702": "cpio",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x89LZO\x00": "lzo",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_LOOKS = {
    b"\x7fELF": "an ELF program",
    b"#!": "a script",
    b"\x04\x22\x4d\x18": "lz4 in the frame format, which Linux does not unpack (use lz4 -l)",
    b"PK\x03\x04": "a zip archive",
    b"QFI\xfb": "a qcow2 disk",
    b"hsqs": "a squashfs",
}


def is_kernel(head: bytes) -> bool:
    """Whether a boot loader can start a file that begins like this."""
    return any(head[at : at + len(magic)] == magic for at, magic in (_X86_MAGIC, *_IMAGE_MAGICS)) or _is_efi(head)


def is_initrd(head: bytes) -> bool:
    """Whether Linux can unpack a file that begins like this; padding in front of the archive counts as part of it."""
    return any(head.lstrip(b"\0").startswith(magic) for magic in _ARCHIVES)


def fits(kind: ImageKind, head: bytes) -> bool:
    """Whether a file that begins like this is what it is said to be."""
    return is_kernel(head) if kind is ImageKind.KERNEL else is_initrd(head)


def description(head: bytes) -> str:
    """What a file seems to be instead, for a message."""
    if not head:
        return "empty"
    if is_kernel(head):
        return "a kernel"
    for magic, name in _ARCHIVES.items():
        if head.startswith(magic):
            return f"an initrd or archive ({name})"
    for magic, name in _LOOKS.items():
        if head.startswith(magic):
            return name
    return "text" if _is_text(head) else "something else"


def _is_efi(head: bytes) -> bool:
    if head[:2] != b"MZ" or len(head) < _PE_OFFSET + 4:
        return False
    (at,) = struct.unpack_from("<I", head, _PE_OFFSET)
    return bool(head[at : at + 4] == b"PE\0\0")


def _is_text(head: bytes) -> bool:
    try:
        return head[:256].decode("ascii").isprintable() or b"\n" in head[:256]
    except UnicodeDecodeError:
        return False
