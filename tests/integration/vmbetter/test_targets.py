"""Images of every kind, made and booted: disks and ISO images on BIOS and UEFI, root filesystems looked into."""

import contextlib
import json
import os
import stat
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from megatools.hostkit.errors import CommandFailed
from megatools.vmbetter import boottest
from tests.support.images import REPOSITORY, tiny_image, vmbetter
from tests.support.requires import requires

pytestmark = [
    requires("qemu-system-x86_64", "mmdebstrap", "zstd", "debugfs", "mformat", "xorriso", "grub-mkimage", "mksquashfs"),
    pytest.mark.root,
    pytest.mark.timeout(1200),
]

CONFIGS = REPOSITORY / "misc/vmbetter_configs"
TINY = str(CONFIGS / "tiny.conf")


def test_a_disk_is_sound(tmp_path: Path) -> None:
    tiny_image()
    vmbetter("--disk", "--format", "raw", TINY, directory=tmp_path)
    disk = tmp_path / "tiny.raw"
    table = json.loads(subprocess.run(["sfdisk", "-J", str(disk)], capture_output=True, check=True).stdout)
    parts = table["partitiontable"]["partitions"]
    assert [part["name"] for part in parts] == ["bios", "efi", "root"]
    subprocess.run(["sfdisk", "--verify", str(disk)], check=True, capture_output=True)
    said = subprocess.run(
        ["debugfs", "-R", "stat /init", f"{disk}?offset={parts[2]['start'] * 512}"], capture_output=True, check=True
    )
    assert "Type: regular" in said.stdout.decode()


def test_a_disk_too_small_says_how_large_it_must_be(tmp_path: Path) -> None:
    tiny_image()
    done = vmbetter("--disk", "--size", "70M", TINY, directory=tmp_path, check=False)
    assert done.status == 2
    assert "the tree does not fit into 70 MiB" in done.stderr.decode()
    assert "is the least" in done.stderr.decode()
    assert not list(tmp_path.glob("*.qcow2"))


def test_root_filesystems(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "tiny_rootfs").mkdir()
    refused = vmbetter("--rootfs", TINY, directory=tmp_path, check=False)
    assert refused.status == 4, "a folder that is no tree must stay"
    (tmp_path / "tiny_rootfs").rmdir()
    for _ in range(2):  # the second time over the first
        vmbetter("--rootfs", "--rootfs-tar", TINY, directory=tmp_path)
    tree = tmp_path / "tiny_rootfs"
    assert os.access(tree / "usr/bin/busybox", os.X_OK)
    assert stat.S_ISCHR((tree / "dev/null").stat().st_mode)
    assert stat.S_IMODE((tree / "tmp").stat().st_mode) == 0o1777
    with tarfile.open(tmp_path / "tiny.tar") as made:
        names = [member.name.removeprefix("./") for member in made]
        assert "init" in names
        assert "dev/console" in names
    assert {path.name for path in tmp_path.iterdir()} == {"tiny_rootfs", "tiny.tar", "tiny.lock", "tiny.manifest"}


def test_a_guest_that_does_not_come_up_is_told_with_its_last_lines(tmp_path: Path) -> None:
    kernel, _ = tiny_image()
    (tmp_path / "no.initrd").write_bytes(b"\0" * 512)
    files = {"kernel": kernel, "initrd": tmp_path / "no.initrd"}
    (machine,) = boottest.machines(files)
    with pytest.raises(CommandFailed, match=r'(?s)boot test failed: the initrd says "Kernel panic.*after saying'):
        boottest.boot(machine, memory_mib=512, timeout_s=600)


BOOT = """
from megatools.vmbetter import boottest
boottest.boot(boottest.Machine("nothing", ("-name", "MARK")), memory_mib=64)
"""


def test_a_boot_test_that_is_killed_leaves_no_machine(tmp_path: Path) -> None:
    mark = tmp_path.name.encode()
    words = [sys.executable, "-c", BOOT.replace("MARK", tmp_path.name)]
    with subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}) as testing:
        until(lambda: any(words[0].startswith(b"qemu") and mark in words for words in commands()), "no machine")
        testing.kill()
    until(lambda: not any(mark in words for words in commands()), "the machine still runs")


def commands() -> list[list[bytes]]:
    """The command lines of all processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes().split(b"\0"))
    return found


def until(holds: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)


# a small system with what an ISO needs to be live; `marked` is of the overlay, `set` of the tree itself
ATTRIBUTES = """
packages = "linux-image-amd64 busybox-static qemu-guest-agent"
overlay = "over"
postbuild = `
set -e
cd /usr/lib/modules/*/kernel
rm -rf net sound arch crypto drivers/[ac-z]* fs/[a-hj-np-rt-z]*
rm -rf /usr/share/* /usr/lib/x86_64-linux-gnu/perl*
mkdir /etc/made
cp /usr/bin/true /etc/made/set
chown 12:34 /etc/made/set
perl -e '$name = "security.capability"; $value = pack("V5", 0x02000001, 0x80, 0, 0, 0);
    $path = "/etc/made/set"; syscall(188, $path, $name, $value, length $value, 0) == 0 or die $!'
`
"""
SETUID = struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0)  # no UTF-8, in the tree
NET_RAW = struct.pack("<5I", 0x02000000, 1 << 13, 0, 0, 0)  # of the overlay


def test_extended_attributes_reach_every_target_or_are_told(tmp_path: Path) -> None:
    tiny_image()
    (tmp_path / "over/etc").mkdir(parents=True)
    marked = tmp_path / "over/etc/marked"
    marked.write_text("x")
    os.setxattr(marked, "user.note", b"mine")
    os.setxattr(marked, "security.capability", NET_RAW)
    (tmp_path / "x.conf").write_text(ATTRIBUTES)
    words = ("--initrd", "--disk", "--format", "raw", "--iso", "--rootfs", "--rootfs-tar")
    said = vmbetter(*words, "x.conf", directory=tmp_path).stderr.decode()
    expected = {"etc/marked": {"user.note": b"mine", "security.capability": NET_RAW}}
    expected["etc/made/set"] = {"security.capability": SETUID}
    for path, held in expected.items():
        assert of_file(tmp_path / "x_rootfs" / path) == held
        assert in_tar(tmp_path / "x.tar", path) == held
        assert on_disk(tmp_path / "x.raw", path, sorted(held), tmp_path) == held
    tree = live(tmp_path / "x.iso", tmp_path)
    assert {path: of_file(tree / path) for path in expected} == expected
    told = 'the initrd cannot set the file capabilities of "/etc/made/set" (cap_setuid=ep), "/etc/marked"'
    assert f'{told} (cap_net_raw=p): that needs the package "libcap2-bin"' in said
    assert 'an initrd has no extended attributes, those of "/etc/marked" (user.note) are lost' in said
    again = vmbetter("--initrd", "x.conf", directory=tmp_path).stderr.decode()
    assert "unchanged, from the cache" in again
    assert told in again


def of_file(path: Path) -> dict[str, bytes]:
    """The extended attributes of a file here."""
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def in_tar(tar: Path, path: str) -> dict[str, bytes]:
    """Those of a member."""
    with tarfile.open(tar) as archive:
        headers = archive.getmember(f"./{path}").pax_headers
    prefix = "SCHILY.xattr."
    return {
        key.removeprefix(prefix): value.encode("utf-8", "surrogateescape")
        for key, value in headers.items()
        if key.startswith(prefix)
    }


def on_disk(disk: Path, path: str, names: list[str], scratch: Path) -> dict[str, bytes]:
    """Those of a file on the root partition."""
    table = json.loads(subprocess.run(["sfdisk", "-J", str(disk)], capture_output=True, check=True).stdout)
    place = f"{disk}?offset={table['partitiontable']['partitions'][2]['start'] * 512}"
    found: dict[str, bytes] = {}
    for name in names:
        value = scratch / "value"
        asked = ["debugfs", "-R", f"ea_get -f {value} /{path} {name}", place]
        subprocess.run(asked, check=True, capture_output=True)
        found[name] = value.read_bytes()
        value.unlink()
    return found


def live(iso: Path, scratch: Path) -> Path:
    """The live system's tree on an ISO image."""
    folder = scratch / "live"
    extract = ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/live", str(folder)]
    subprocess.run(extract, check=True, capture_output=True)
    (squashed,) = folder.glob("*.squashfs")
    tree = scratch / "unsquashed"
    subprocess.run(["unsquashfs", "-n", "-d", str(tree), str(squashed), "etc"], check=True, capture_output=True)
    return tree
