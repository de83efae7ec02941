"""Overlays we write ourselves, judged by qemu-img."""

import asyncio
import json
from pathlib import Path

import pytest

from megatools.hostkit import proc
from megatools.hostkit.errors import NotFound
from megatools.hostkit.qemu import img
from tests.support.requires import requires

pytestmark = requires("qemu-img", "qemu-io")


def qemu_img(*words: str | Path) -> str:
    return proc.run_sync(["qemu-img", *map(str, words)], timeout_s=30).text


def make(kind: str, size: str, path: Path) -> Path:
    qemu_img("create", "-q", "-f", kind, path, size)
    return path


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk"])
@pytest.mark.parametrize("size", ["512", "1000448", "5G", "3T"])
def test_an_overlay_is_sound_and_as_large_as_its_image(tmp_path: Path, kind: str, size: str) -> None:
    image = make(kind, size, tmp_path / "back,ing image")
    overlay = tmp_path / "overlay.qcow2"
    asyncio.run(img.create_overlay(overlay, image))
    info = json.loads(qemu_img("info", "--output=json", overlay))
    assert info["format"] == "qcow2"
    assert info["virtual-size"] == json.loads(qemu_img("info", "--output=json", image))["virtual-size"]
    assert (info["backing-filename"], info["backing-filename-format"]) == (str(image), kind)
    qemu_img("check", overlay)


def test_reads_fall_through_and_writes_stay_in_the_overlay(tmp_path: Path) -> None:
    image = make("raw", "1M", tmp_path / "image")
    image.write_bytes(b"\x11" * 2**20)
    overlay = tmp_path / "overlay.qcow2"
    asyncio.run(img.create_overlay(overlay, image))
    commands = [
        "-c",
        "read -P 0x11 0 1M",
        "-c",
        "write -P 0x22 4k 64k",
        "-c",
        "read -P 0x22 4k 64k",
        "-c",
        "read -P 0x11 0 4k",
    ]
    answer = proc.run_sync(["qemu-io", "-f", "qcow2", *commands, str(overlay)], timeout_s=30).text
    assert "Pattern verification failed" not in answer and answer.count("bytes at offset") == 4
    qemu_img("check", overlay)
    assert image.read_bytes() == b"\x11" * 2**20


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match='no such image: "/nope"'):
        asyncio.run(img.create_overlay(tmp_path / "o", Path("/nope")))
    assert not (tmp_path / "o").exists()
