"""Options as people type them, on the tiny image: disk formats, compressions, boot tests."""

import subprocess
from pathlib import Path

import pytest

from megatools.hostkit import proc
from megatools.vmbetter.targets import grub
from tests.support.images import REPOSITORY, tiny_image, vmbetter
from tests.support.requires import requires

pytestmark = [
    requires("qemu-system-x86_64", "qemu-img", "mmdebstrap", "zstd", "debugfs", "mformat", "grub-mkimage"),
    pytest.mark.root,
    pytest.mark.timeout(1200),
]

TINY = str(REPOSITORY / "misc/vmbetter_configs/tiny.conf")
UNPACK = {"gzip": ["gzip", "-dc"], "xz": ["xz", "-dc"], "lz4": ["lz4", "-dc"], "none": ["cat"]}


def tiny(directory: Path, *words: str, check: bool = True) -> proc.Completed:
    """Build it, from the lock of the others' so that its tree is in the cache."""
    _, initrd = tiny_image()
    (directory / "tiny.lock").write_bytes((initrd.parent / "tiny.lock").read_bytes())
    return vmbetter(*words, TINY, directory=directory, check=check)


def said(done: proc.Completed) -> str:
    return done.stderr.decode()


def unpacked(words: list[str], packed: Path) -> bytes:
    return subprocess.run([*words, str(packed)], capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    ("words", "suffix"),
    [((), "qcow2"), pytest.param(("--format", "vmdk"), "vmdk", marks=pytest.mark.full)],
)
def test_disks_in_other_formats_hold_the_same(words: tuple[str, ...], suffix: str, tmp_path: Path) -> None:
    tiny(tmp_path, "--disk", *words)
    disk = tmp_path / f"tiny.{suffix}"
    assert f"file format: {suffix}\n" in proc.run_sync(["qemu-img", "info", str(disk)], timeout_s=60).text
    assert not (tmp_path / "tiny.raw").exists()
    tiny(tmp_path, "--disk=raw")
    compared = ["qemu-img", "compare", "-f", suffix, "-F", "raw", str(disk), str(tmp_path / "tiny.raw")]
    assert proc.run_sync(compared, timeout_s=120).text == "Images are identical.\n"


@pytest.mark.parametrize(
    "method", ["lz4", *(pytest.param(name, marks=pytest.mark.full) for name in ("gzip", "gzip:9", "xz", "none"))]
)
def test_compressions_hold_the_same(method: str, tmp_path: Path) -> None:
    tiny(tmp_path, "--compress", method)
    _, initrd = tiny_image()
    same = unpacked(UNPACK[method.partition(":")[0]], tmp_path / "tiny.initrd")
    assert same == unpacked(["zstd", "-dc"], initrd)


@pytest.mark.full
@pytest.mark.parametrize("method", list(UNPACK))
def test_the_kernel_unpacks_each_compression(method: str, tmp_path: Path) -> None:
    done = tiny(tmp_path, "--compress", method, "--boot-test")
    assert "boot test: the initrd is up after " in said(done)


@pytest.mark.full
@pytest.mark.parametrize("suffix", ["qcow2", "vmdk"])
def test_disks_in_other_formats_boot(suffix: str, tmp_path: Path) -> None:
    done = tiny(tmp_path, "--disk", "--format", suffix, "--boot-test")
    for firmware in ("BIOS", "UEFI"):
        assert f"boot test: the disk on {firmware} is up after " in said(done)


@pytest.mark.full
def test_words_for_the_kernel_reach_it_whatever_is_in_them(tmp_path: Path) -> None:
    words = 'a=1;2 b=$c {d} "e=f; g" hostname=lamb'
    done = tiny(tmp_path, "--iso", "--append", words, "--boot-test", "--boot-marker", "root@lamb:~# ")
    assert "boot test: the iso on BIOS is up after " in said(done)


@pytest.mark.full
def test_a_boot_test_fails_when_the_guest_does(tmp_path: Path) -> None:
    done = tiny(tmp_path, "--iso", "--append", "rdinit=/no/such/program", "--boot-test", check=False)
    assert done.status == 8, said(done)
    assert "boot test failed: the iso on BIOS says" in said(done)


@requires("grub-script-check")
def test_grub_reads_a_menu_whatever_is_in_the_words_for_the_kernel(tmp_path: Path) -> None:
    for words in ("quiet", "a=1;2 b=$c {d} }", "it's #x < > | & \\", 'x="a; b $c" y'):
        menu = tmp_path / "grub.cfg"
        menu.write_text(grub.menu(kernel="/vmlinuz", initrd="/initrd.img", arguments=words))
        proc.run_sync(["grub-script-check", str(menu)], timeout_s=30)
