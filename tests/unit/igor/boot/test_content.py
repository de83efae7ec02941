"""Copying kernels and initrds below the TFTP root."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.errors import InvalidInput, Unavailable
from megatools.igor.boot import content
from megatools.igor.boot.kinds import Staged
from megatools.igor.model.config import BootConfig, Config
from megatools.igor.model.image import ImageKind

KERNEL = b"\0" * 0x202 + b"HdrS" + os.urandom(3_000_000)


def config_in(root: Path, limit: int = 10_000_000) -> Config:
    boot = BootConfig(max_image_bytes=limit)
    return Config(tftproot=str(root), prefix="kn", start=1, end=4, rackwidth=2, rackheight=2, boot=boot)


def staged(path: Path, config: Config, kind: ImageKind = ImageKind.KERNEL) -> Staged:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return content.stage(descriptor, kind, path.name, config)
    finally:
        os.close(descriptor)


def test_a_kernel_is_copied_and_hashed(tmp_path: Path) -> None:
    source = tmp_path / "vmlinuz"
    source.write_bytes(KERNEL)
    config = config_in(tmp_path / "tftp")
    found = staged(source, config)
    assert found.image.hash == hashlib.sha256(KERNEL).hexdigest()
    assert found.image.size == len(KERNEL)
    assert found.temporary.read_bytes() == KERNEL
    assert found.temporary.stat().st_mode & 0o777 == 0o644
    assert found.temporary.parent == content.directory_of(config)


def test_the_position_of_the_descriptor_does_not_matter(tmp_path: Path) -> None:
    source = tmp_path / "vmlinuz"
    source.write_bytes(KERNEL)
    descriptor = os.open(source, os.O_RDONLY)
    os.lseek(descriptor, 1000, os.SEEK_SET)
    found = content.stage(descriptor, ImageKind.KERNEL, "k", config_in(tmp_path))
    os.close(descriptor)
    assert found.image.size == len(KERNEL)


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", ImageKind.KERNEL, "it is empty"),
        (b"hello\n", ImageKind.KERNEL, '"file" is not a kernel: it is text'),
        (KERNEL[:5000], ImageKind.INITRD, "is not an initrd: it is a kernel"),
        (KERNEL + b"\0" * 8_000_000, ImageKind.KERNEL, "the limit is 9.5 MiB"),
    ],
)
def test_what_is_refused_leaves_nothing(tmp_path: Path, body: bytes, kind: ImageKind, said: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(body)
    config = config_in(tmp_path / "tftp")
    with pytest.raises(InvalidInput, match=said):
        staged(source, config, kind)
    assert not list((tmp_path / "tftp").rglob("*.*"))


def test_only_regular_files(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(InvalidInput, match="not a regular file"):
            content.stage(reader, ImageKind.KERNEL, "pipe", config_in(tmp_path))
    finally:
        os.close(reader)
        os.close(writer)
    with pytest.raises(InvalidInput, match="not a regular file"):
        staged(tmp_path, config_in(tmp_path))


def test_more_than_the_disk_holds_is_refused_before_the_copy(tmp_path: Path) -> None:
    source = tmp_path / "huge"
    source.write_bytes(KERNEL[:5000])
    os.truncate(source, 1 << 43)
    with pytest.raises(Unavailable, match="no room for"):
        staged(source, config_in(tmp_path / "tftp", limit=1 << 44))


def test_a_root_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "vmlinuz"
    source.write_bytes(KERNEL)
    (tmp_path / "tftp").write_text("a file, not a directory")
    with pytest.raises(Unavailable, match="cannot copy"):
        staged(source, config_in(tmp_path / "tftp"))


def test_abandoned_copies_are_swept(tmp_path: Path) -> None:
    source = tmp_path / "vmlinuz"
    source.write_bytes(KERNEL)
    config = config_in(tmp_path / "tftp")
    old, new = staged(source, config), staged(source, config)
    os.utime(old.temporary, (0, 0))
    kept = content.directory_of(config) / old.image.hash
    kept.write_bytes(b"an image")
    os.utime(kept, (0, 0))
    assert content.sweep(config) == [old.temporary]
    assert new.temporary.exists()
    assert kept.exists()
    assert content.sweep(msgspec.structs.replace(config, tftproot=str(tmp_path / "none"))) == []
