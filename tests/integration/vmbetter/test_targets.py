"""Images of every kind, made and booted: disks and ISO images on BIOS and UEFI, root filesystems looked into."""

import contextlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import proc
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
# systems with systemd; the memory their initrd needs, and their disk
SYSTEMS = {"default_amd64": 2048, "guest": 1024, "router": 1024, "kane_host": 4096}


def boot(files: dict[str, Path], only: str = "", memory_mib: int = 512) -> None:
    """Boot files to their prompt; `only` is the start of a title."""
    for machine in boottest.machines(files):
        if machine.title.startswith(only):
            boottest.boot(machine, memory_mib=memory_mib, timeout_s=600)


def test_a_disk_boots_on_bios_and_uefi_and_is_sound(tmp_path: Path) -> None:
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
    boot({"raw": disk})


def test_an_iso_boots(tmp_path: Path) -> None:
    tiny_image()
    vmbetter("--iso", TINY, directory=tmp_path)
    boot({"iso": tmp_path / "tiny.iso"}, "iso on BIOS")


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
    with pytest.raises(CommandFailed, match=r'(?s)boot test failed: the initrd says "Kernel panic.*after saying'):
        boot(files)


@pytest.mark.full
def test_disks_and_isos_are_byte_identical(tmp_path: Path) -> None:
    lock = tmp_path / "tiny.lock"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        if lock.exists():
            (tmp_path / name / "tiny.lock").write_bytes(lock.read_bytes())
        cache = str(tmp_path / f"cache-{name}")
        vmbetter(
            "--cache", cache, "--disk", "--format", "raw", "--iso", "--rootfs-tar", TINY, directory=tmp_path / name
        )
        lock.write_bytes((tmp_path / name / "tiny.lock").read_bytes())
    for suffix in ("raw", "iso", "tar"):
        assert (tmp_path / f"one/tiny.{suffix}").read_bytes() == (tmp_path / f"two/tiny.{suffix}").read_bytes(), suffix


@pytest.fixture
def ordinary_user(tmp_path: Path) -> Iterator[str]:
    """A user for this test, with a range of subordinate ids."""
    name = f"mtest{os.getpid()}"
    subprocess.run(["useradd", "--create-home", "--home-dir", f"/tmp/{name}", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", "--remove", name], check=False, capture_output=True)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", SYSTEMS)
def test_each_system_boots_from_everything(config: str, tmp_path: Path) -> None:
    vmbetter("--initrd", "--disk", "--iso", str(CONFIGS / f"{config}.conf"), directory=tmp_path, timeout_s=1800)
    files = {suffix: tmp_path / f"{config}.{suffix}" for suffix in ("kernel", "initrd", "qcow2", "iso")}
    boot(files, memory_mib=SYSTEMS[config])


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("config", ["tiny", *SYSTEMS])
def test_an_ordinary_user_builds_them_too(config: str, ordinary_user: str) -> None:
    home = Path(f"/tmp/{ordinary_user}")
    program = [sys.executable, "-m", "megatools.vmbetter.cli", "--initrd", "--disk", "--iso"]
    command = ["setpriv", f"--reuid={ordinary_user}", f"--regid={ordinary_user}", "--clear-groups", *program]
    settings = {"HOME": str(home), "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    proc.run_sync([*command, str(CONFIGS / f"{config}.conf")], timeout_s=1800, cwd=home, env=settings)
    files = {suffix: home / f"{config}.{suffix}" for suffix in ("kernel", "initrd", "qcow2", "iso")}
    boot(files, memory_mib=SYSTEMS.get(config, 512))


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("config", ["guest", "router"])
def test_the_guest_agent_answers(config: str, tmp_path: Path) -> None:
    vmbetter("--disk", str(CONFIGS / f"{config}.conf"), directory=tmp_path, timeout_s=1200)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "agent"))
    listener.listen(1)
    machine = boottest.machines({"qcow2": tmp_path / f"{config}.qcow2"})[0]
    words = boottest.argv(machine, 1024, "tcg")
    words += ["-device", "virtio-serial", "-chardev", f"socket,id=agent,path={tmp_path}/agent"]
    words += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
    child = proc.spawn(words)
    with contextlib.closing(listener):
        try:
            listener.settimeout(60)
            with listener.accept()[0] as stream:
                assert pinged(stream, 600), "the agent did not answer"
        finally:
            child.signal(signal.SIGKILL)
            child._popen.wait(10)


def pinged(stream: socket.socket, timeout_s: float) -> bool:
    """Whether the agent answers; a question asked before it runs waits in the port."""
    stream.sendall(b'{"execute": "guest-ping"}\n')
    deadline = time.monotonic() + timeout_s
    while (left := deadline - time.monotonic()) > 0:
        if select.select([stream], [], [], left)[0]:
            return b'"return"' in stream.recv(4096)
    return False
