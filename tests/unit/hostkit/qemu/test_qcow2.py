"""Backing files are read from headers, and other files have none."""

import struct
from pathlib import Path

import pytest

from megatools.hostkit.qemu.qcow2 import backing_file


def _image(path: Path, name: bytes) -> Path:
    offset = 512 if name else 0
    header = b"QFI\xfb" + struct.pack(">IQI", 3, offset, len(name))
    path.write_bytes(header.ljust(512, b"\0") + name)
    return path


@pytest.mark.parametrize(
    ("name", "wanted"),
    [(b"base.qcow2", "{0}/base.qcow2"), (b"/srv/base.img", "/srv/base.img"), (b"file:b", "{0}/b"), (b"", None)],
)
def test_backing_files(tmp_path: Path, name: bytes, wanted: str | None) -> None:
    found = backing_file(_image(tmp_path / "x", name))
    assert found == (None if wanted is None else Path(wanted.format(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"QFI", b"\x7fELF" + b"\0" * 600])
def test_other_files_have_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    assert backing_file(tmp_path / "x") is None
    assert backing_file(tmp_path / "absent") is None
    assert backing_file(_image(tmp_path / "url", b"nbd://host/x")) is None
