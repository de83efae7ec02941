"""Every sample config, built by root and by an ordinary user, boots from everything to its prompt; its agent answers.

Five configs, two builders and five ways to boot make 50 boots, of which half would boot the same bytes again: that root
and an ordinary user build the same bytes is proved for each config and each result (both anew, in different
directories, at different times, the user without a network), and each distinct image is booted once. `scripts/test`
runs tiny's, `scripts/test --full` all, one part for each config; `-k guest-disk` takes up one of them again.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import shutil
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from megatools.hostkit.qemu import probe
from megatools.vmbetter import boottest, manifest
from tests.support.builder import ordinary_user
from tests.support.guest import Guest, booted
from tests.support.images import REPOSITORY, vmbetter
from tests.support.requires import requires

pytestmark = [
    requires("qemu-system-x86_64", "mmdebstrap", "zstd", "debugfs", "mformat", "xorriso", "grub-mkimage", "mksquashfs"),
    requires("useradd", "newuidmap", "setpriv", "unshare"),
    pytest.mark.root,
    pytest.mark.timeout(1500),
]

CONFIGS = REPOSITORY / "misc/vmbetter_configs"
RESULTS = ("--initrd", "--disk", "--format", "raw", "--iso", "--rootfs-tar")
BUILD_S = 1200.0
SUFFIXES = ("kernel", "initrd", "raw", "iso", "tar")
WAYS = {
    "initrd": "initrd",
    "disk-bios": "disk on BIOS",
    "disk-uefi": "disk on UEFI",
    "iso-bios": "iso on BIOS",
    "iso-uefi": "iso on UEFI",
}


@dataclass(frozen=True)
class System:
    """What a config promises: its prompt, whether root gets in without a password, and its agent."""

    prompt: str = r"\nDebian GNU/Linux 12 \S+ ttyS0\n\n\S+ login: "
    opens: bool = True
    has_agent: bool = False
    checks: tuple[str, ...] = ()  # commands in the guest that must end with 0
    memory_mib: int = 512  # from a disk or an ISO image; an initrd gets what the build says


SYSTEMD = ('test "$(systemctl is-system-running --wait)" = running', "test $(wc -c < /etc/machine-id) = 33")
PING = ("getcap /usr/bin/ping | grep -q cap_net_raw=ep", "runuser -u nobody -- ping -c 1 -W 20 127.0.0.1")
ROUTER = ("test $(sysctl -n net.ipv4.ip_forward) = 1", "birdc show status", "nft list table inet filter")
HOST = ("minimega -version", "ovs-vsctl --timeout 60 show", "qemu-system-x86_64 -version", "dnsmasq --version")
SYSTEMS = {
    "tiny": System("megatools: ready\n(.*\n)*root@tiny:~# ", has_agent=True),
    "guest": System(has_agent=True, checks=(*SYSTEMD, *PING)),
    "router": System(has_agent=True, checks=(*SYSTEMD, *PING, *ROUTER)),
    "default_amd64": System(opens=False),
    "kane_host": System(checks=(*SYSTEMD, *PING, *HOST), memory_mib=1024),
}
# what must not be the same on two machines
SECRETS = ("etc/machine-id", "var/lib/dbus/machine-id", "*/random-seed", "etc/ssh/ssh_host_*", "etc/hostid")
SECRETS += ("*/credential.secret", "etc/openvswitch/system-id.conf")
PRIVATE_KEY = re.compile(rb"^-----BEGIN [A-Z ]*PRIVATE KEY-----\r?$", re.MULTILINE)
PUBLISHED = ("usr/share/ovmf/PkKek-1-snakeoil.key",)  # a key for tests that the package ovmf itself has

quick = [pytest.param(name, marks=() if name == "tiny" else pytest.mark.full, id=name) for name in SYSTEMS]
each_way = [
    pytest.param(name, way, marks=() if name == "tiny" else pytest.mark.full, id=f"{name}-{way}")
    for name in SYSTEMS
    for way in WAYS
]


class Images:
    """What root builds of each config, with the cache, once for all tests."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self.said: dict[str, str] = {}

    def of(self, config: str) -> dict[str, Path]:
        """A config's files by suffix, its lock and manifest among them."""
        folder = self._top / config
        if config not in self.said:
            folder.mkdir()
            done = vmbetter(*RESULTS, str(CONFIGS / f"{config}.conf"), directory=folder, timeout_s=BUILD_S)
            self.said[config] = done.stderr.decode()
        return {suffix: folder / f"{config}.{suffix}" for suffix in (*SUFFIXES, "lock", "manifest")}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """The images, as long as this module's tests run."""
    top = tmp_path_factory.mktemp("images")
    yield Images(top)
    shutil.rmtree(top)


def digests(files: dict[str, Path]) -> dict[str, str]:
    """The SHA-256 of each result."""
    found: dict[str, str] = {}
    for suffix in SUFFIXES:
        with files[suffix].open("rb") as stream:
            found[suffix] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


@pytest.mark.parametrize("config", quick)
def test_root_and_an_ordinary_user_build_the_same_bytes(config: str, images: Images, tmp_path: Path) -> None:
    booted_ones = images.of(config)
    lock = booted_ones["lock"].read_bytes()
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / f"{config}.lock").write_bytes(lock)
    arguments = ("--no-cache", *RESULTS, str(CONFIGS / f"{config}.conf"))
    vmbetter(*arguments, directory=ours, timeout_s=BUILD_S)
    by_root = digests({suffix: ours / f"{config}.{suffix}" for suffix in SUFFIXES})
    shutil.rmtree(ours)
    with ordinary_user() as user:
        user.lend(booted_ones["lock"])
        (user.home / "theirs").mkdir()
        (user.home / f"theirs/{config}.lock").write_bytes(lock)
        user.vmbetter(*arguments, directory=user.home / "theirs", timeout_s=BUILD_S)
        by_user = digests({suffix: user.home / f"theirs/{config}.{suffix}" for suffix in SUFFIXES})
        assert (user.home / f"theirs/{config}.lock").read_bytes() == lock
    assert by_root == by_user
    assert by_root == digests(booted_ones)


@pytest.mark.parametrize(("config", "way"), each_way)
def test_it_boots(config: str, way: str, images: Images, tmp_path: Path) -> None:
    files, system = images.of(config), SYSTEMS[config]
    machines = {machine.title: machine for machine in boottest.machines(files)}
    assert sorted(machines) == sorted(WAYS.values()), "OVMF is needed for UEFI"
    memory_mib = system.memory_mib
    if way == "initrd":
        memory_mib = manifest.find(files["manifest"]).memory_mib
        assert f"needs about {memory_mib} MiB of memory to boot" in images.said[config]
    argv = boottest.argv(machines[WAYS[way]], memory_mib, probe.accelerator().name, serial=())
    with booted(argv, tmp_path) as guest:
        guest.wait_for(system.prompt)
        if system.has_agent:
            assert guest.ask("qga", "guest-ping") == {}
        if system.checks:
            guest.log_in()
            for command in system.checks:
                guest.run(command)
        elif not system.opens:
            refused(guest)
        assert "[FAILED]" not in guest.said


def refused(guest: Guest) -> None:
    """Nobody has said who may log in: root may not."""
    guest.type("root")
    guest.wait_for("Password: ")
    guest.type("")
    guest.wait_for("Login incorrect")


@pytest.mark.parametrize("config", quick)
def test_nothing_is_baked_in_that_machines_must_not_share(config: str, images: Images) -> None:
    looked_at: list[str] = []
    with tarfile.open(images.of(config)["tar"]) as tree:
        for member in tree:
            name = member.name.removeprefix("./")
            if not member.isreg() or name in PUBLISHED:
                continue
            content = tree.extractfile(member)
            assert content is not None
            data = content.read()
            looked_at.append(name)
            assert not data or not any(fnmatch.fnmatchcase(name, secret) for secret in SECRETS), name
            assert not PRIVATE_KEY.search(data), name
            assert name != "etc/hostname" or data.decode().strip() != socket.gethostname(), "the builder's name"
    assert "usr/sbin/qemu-ga" in looked_at or "usr/lib/systemd/systemd" in looked_at
