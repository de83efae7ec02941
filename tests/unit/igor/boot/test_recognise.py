"""Kernels and initrds by their first bytes."""

from __future__ import annotations

import gzip
import lzma

import pytest

from megatools.igor.boot import recognise
from megatools.igor.model.image import ImageKind

BZIMAGE = b"\0" * 0x202 + b"HdrS" + b"\0" * 100
ARM64 = b"\0" * 0x38 + b"ARM\x64" + b"\0" * 10
EFI = b"MZ" + b"\0" * 0x3A + (0x80).to_bytes(4, "little") + b"\0" * 0x40 + b"PE\0\0"
CPIO = b"070701" + b"0" * 104


@pytest.mark.parametrize("head", [BZIMAGE, ARM64, EFI])
def test_kernels(head: bytes) -> None:
    assert recognise.fits(ImageKind.KERNEL, head)
    assert not recognise.fits(ImageKind.INITRD, head)
    assert recognise.description(head) == "a kernel"


@pytest.mark.parametrize(
    "head",
    [
        CPIO,
        b"\0" * 512 + CPIO,
        gzip.compress(CPIO, mtime=0),
        lzma.compress(CPIO),
        b"\x28\xb5\x2f\xfd...",
        b"\x02\x21\x4c\x18.",
    ],
)
def test_initrds(head: bytes) -> None:
    assert recognise.fits(ImageKind.INITRD, head)
    assert not recognise.fits(ImageKind.KERNEL, head)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "empty"),
        (b"#!/bin/sh\n", "a script"),
        (b"\x7fELF\x02", "an ELF program"),
        (b"hello\n", "text"),
        (b"\x04\x22\x4d\x18", "lz4 -l"),
        (gzip.compress(b"x", mtime=0), "archive"),
        (b"MZ" + b"\xff" * 0x100, "something else"),
        (b"\xfe\x00\x01", "something else"),
    ],
)
def test_what_is_neither_a_kernel(head: bytes, said: str) -> None:
    assert not recognise.fits(ImageKind.KERNEL, head)
    assert said in recognise.description(head)
