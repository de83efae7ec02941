"""Where a relative path in a configuration leads: the files directory first, then the working directory."""

import asyncio
from pathlib import Path

import pytest

from megatools.minimega.vm.config import DiskSpec, VmConfig
from megatools.minimega.vm.editing import edit


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "files"


def kernel(word: str, files: Path) -> str:
    return asyncio.run(edit(VmConfig(), "kernel", [word], files)).kernel


def test_a_relative_path_is_made_absolute(files: Path) -> None:
    here = files.parent / "here" / "vmlinuz"
    assert kernel("vmlinuz", files) == str(files / "vmlinuz")
    here.touch()
    assert kernel("vmlinuz", files) == str(here)
    (files / "vmlinuz").touch()
    assert kernel("vmlinuz", files) == str(files / "vmlinuz")


def test_other_paths_stay(files: Path) -> None:
    assert kernel("/boot/vmlinuz", files) == "/boot/vmlinuz"
    assert kernel("", files) == ""
    assert asyncio.run(edit(VmConfig(), "qemu", ["kvm"], files)).qemu == "kvm"


def test_disks_keep_their_options(files: Path) -> None:
    config = asyncio.run(edit(VmConfig(), "disks", ["a.qcow2,ide", "/b"], files))
    assert config.disks == (DiskSpec(str(files / "a.qcow2"), "ide"), DiskSpec("/b"))
