"""Where packages come from: mirrors, suites, components, keys, folders of packages, engines, other architectures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from megatools.hostkit import proc
from tests.integration.vmbetter.conftest import HELLO, Workshop
from tests.support import netns
from tests.support.archive import Archive, Deb, newer, toy_system, write_deb
from tests.support.images import REPOSITORY, vmbetter
from tests.support.requires import requires

pytestmark = [requires("mmdebstrap", "zstd", "unshare", "gpg", "dpkg-deb"), pytest.mark.root, pytest.mark.timeout(600)]


def said(done: proc.Completed) -> str:
    return done.stderr.decode()


def test_a_mirror_over_http_with_its_own_keys(workshop: Workshop) -> None:
    workshop.config()
    with netns.entered(), workshop.archive.served() as url:
        workshop.build("--rootfs-tar", "--no-cache", "x.conf", url=url)
    assert workshop.file("usr/share/hello/text") == "hello of 1.0\n"
    sources = workshop.file("etc/apt/sources.list.d/image.sources")
    assert f"URIs: {url}\nSuites: toy\nComponents: main\nSigned-By: /etc/apt/keyrings/image.gpg\n" in sources
    names = subprocess.run(["tar", "-tf", workshop.directory / "x.tar"], capture_output=True, check=True).stdout
    assert b"./etc/apt/keyrings/image.gpg\n" in names, "the image's own apt must be able to check the mirror"
    with (workshop.directory / "x.tar").open("rb") as stream:
        assert workshop.archive.keyring.read_bytes() in stream.read()


def test_keys_are_always_checked(workshop: Workshop, tmp_path: Path) -> None:
    workshop.config()
    other = Archive(tmp_path / "other")
    for keyring in (str(other.keyring), "/usr/share/keyrings/debian-archive-keyring.gpg"):
        done = workshop.build("--update", "--keyring", keyring, "x.conf", check=False)
        assert done.status == 6, said(done)
        assert "the archive's signature cannot be checked" in said(done)
        assert "hint: name the file of its keys with --keyring" in said(done)
    workshop.archive.publish([*toy_system(), HELLO], "toy-unsigned", sign=False)
    done = workshop.build("--branch", "toy-unsigned", "x.conf", check=False)
    assert (done.status, "signature cannot be checked" in said(done)) == (6, True), said(done)
    assert [path.name for path in workshop.directory.iterdir()] == ["x.conf"]


def test_packages_that_were_changed_on_the_way_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    workshop.config('packages = "victim"')
    bad = Archive(tmp_path / "bad")
    bad.publish([*toy_system(), Deb("victim")], "toy")
    package = next(bad.folder.glob("pool/victim_*"))
    data = bytearray(package.read_bytes())
    data[-1] ^= 1
    package.write_bytes(data)
    done = workshop.build("--keyring", str(bad.keyring), "--rootfs-tar", "x.conf", url=bad.url, check=False)
    assert done.status == 10, said(done)
    assert 'victim_1.0_amd64.deb" has another content than the archive announces' in said(done)
    assert not (workshop.directory / "x.tar").exists()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--branch", "nosuch"], 3, 'has no suite "nosuch"'),
        (["--components", "nosuch"], 3, 'has no component "nosuch"'),
        (["--architecture", "i386"], 3, 'the sources have no system for architecture "i386"'),
        (["--architecture", "pdp11"], 2, 'architecture "pdp11" is unknown'),
        (["--branch", "toy\nTrusted: yes"], 2, "is no name of a suite"),
        (["--mirror", "no/such/folder"], 2, 'mirror "no/such/folder" is neither a URL nor a folder'),
        (["--keyring", "none.gpg"], 3, 'no keyring "none.gpg"'),
        (["--debs", "none"], 3, 'no folder "none" of packages'),
    ],
)
def test_what_an_archive_has_not_is_said(workshop: Workshop, words: list[str], status: int, message: str) -> None:
    workshop.config()
    done = workshop.build("--update", *words, "x.conf", check=False)
    assert (done.status, message in said(done)) == (status, True), said(done)
    assert "Traceback" not in said(done)
    assert [path.name for path in workshop.directory.iterdir()] == ["x.conf"]


def test_components_are_those_asked_for(workshop: Workshop) -> None:
    workshop.archive.publish(toy_system(), "toy-parts")
    workshop.archive.publish([Deb("extra", files={"usr/share/extra": "x"})], "toy-parts", component="universe")
    workshop.config('packages = "extra"')
    words = ["--branch", "toy-parts", "--rootfs-tar", "x.conf"]
    done = workshop.build(*words, check=False)
    assert (done.status, 'no package "extra"' in said(done)) == (2, True), said(done)
    workshop.build("--components", "main,universe", *words)
    assert workshop.file("usr/share/extra") == "x"
    assert "Components: main universe\n" in workshop.file("etc/apt/sources.list.d/image.sources")


def test_an_ubuntu_suite(workshop: Workshop) -> None:
    """The archive pretends to be Ubuntu's: the real one cannot be reached from everywhere."""
    workshop.archive.publish([*toy_system(), HELLO], "jammy")
    config = workshop.config()
    done = workshop.run("--cache", str(workshop.cache), "--branch", "jammy", str(config), check=False)
    assert done.status == 7
    assert '"jammy" is a suite of Ubuntu, this host has package sources of Debian' in said(done)
    if not Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg").exists():
        done = workshop.run(
            "--cache",
            str(workshop.cache),
            "--branch",
            "jammy",
            "--mirror",
            workshop.archive.url,
            str(config),
            check=False,
        )
        assert (done.status, "the keys of Ubuntu are not on this host" in said(done)) == (3, True), said(done)
    workshop.build("--branch", "jammy", "--rootfs-tar", "x.conf")
    assert json.loads((workshop.directory / "x.lock").read_bytes())["suite"] == "jammy"
    workshop.build("--branch", "jammy", "--engine", "debootstrap", "--rootfs-tar", "-O", "y", "x.conf")
    assert workshop.file("usr/share/hello/text", "y.tar") == "hello of 1.0\n"


def test_folders_of_packages(workshop: Workshop) -> None:
    folder = workshop.directory / "my debs"
    write_deb(Deb("mine", "2:1.0", depends="hello", files={"usr/share/mine": "own\n"}), folder)
    write_deb(newer(HELLO, "0.5", **{"usr/share/hello/text": "hello of 0.5\n"}), folder)
    folder.chmod(0o700)  # apt's own user could not read it
    workshop.config('packages = "mine"')
    done = workshop.build("--rootfs-tar", "x.conf", check=False)
    assert (done.status, 'no package "mine"' in said(done)) == (2, True), said(done)
    workshop.build("--debs", "my debs", "--rootfs-tar", "x.conf")
    assert workshop.file("usr/share/mine") == "own\n"
    assert workshop.file("usr/share/hello/text") == "hello of 1.0\n", "the newest version of all wins"
    workshop.config('packages = "mine hello=0.5"')
    workshop.build("--debs", "my debs", "--rootfs-tar", "x.conf")
    assert workshop.file("usr/share/hello/text") == "hello of 0.5\n"
    (folder / "odd.deb").write_text("not one\n")
    done = workshop.build("--debs", "my debs", "--rootfs-tar", "x.conf", check=False)
    assert (done.status, f'"{folder}/odd.deb" is not a Debian package' in said(done)) == (2, True), said(done)


@pytest.mark.full
def test_packages_that_do_not_say_how_large_they_are(workshop: Workshop) -> None:
    """A tree is made in memory of a size that follows from the packages; this one is far larger than they say."""
    large = workshop.directory / "large"
    large.write_bytes(b"\0" * (300 << 20))
    write_deb(Deb("large", files={"usr/share/large": large}), workshop.directory / "debs")
    large.unlink()
    workshop.config('packages = "large"')
    workshop.build("--debs", "debs", "--rootfs-tar", "x.conf")
    names = subprocess.run(["tar", "-tvf", workshop.directory / "x.tar"], capture_output=True, check=True).stdout
    assert f"{300 << 20} " in next(line for line in names.decode().splitlines() if line.endswith("./usr/share/large"))


@requires("debootstrap")
def test_debootstrap_installs_the_same(workshop: Workshop) -> None:
    workshop.config()
    installed = []
    for engine in ("mmdebstrap", "debootstrap"):
        workshop.build("--engine", engine, "--rootfs-tar", "-O", engine, "x.conf")
        status = workshop.file("var/lib/dpkg/status", f"{engine}.tar")
        installed.append(sorted(line for line in status.splitlines() if line.startswith(("Package:", "Version:"))))
        assert workshop.file("usr/share/hello/text", f"{engine}.tar") == "hello of 1.0\n"
        assert "keyrings/image.gpg" in workshop.file("etc/apt/sources.list.d/image.sources", f"{engine}.tar")
    assert installed[0] == installed[1]


def test_a_lock_outlives_what_the_archive_has(workshop: Workshop) -> None:
    hello = newer(HELLO, "2.0", **{"usr/share/hello/text": "hello of 2.0\n"})
    workshop.archive.publish([*toy_system(), hello], "toy-moving")
    workshop.config()
    words = ["--branch", "toy-moving", "--rootfs-tar", "x.conf"]
    workshop.build(*words)
    first = (workshop.directory / "x.tar").read_bytes()
    next(workshop.archive.folder.glob("pool/hello_2.0_*")).unlink()
    newest = newer(HELLO, "3.0", **{"usr/share/hello/text": "hello of 3.0\n"})
    workshop.archive.publish([*toy_system(), newest], "toy-moving")
    workshop.build("--no-cache", *words, before=("unshare", "--net"))
    assert (workshop.directory / "x.tar").read_bytes() == first
    assert workshop.file("usr/share/hello/text") == "hello of 2.0\n"
    workshop.build("--update", *words)
    assert workshop.file("usr/share/hello/text") == "hello of 3.0\n"


def test_what_a_lock_lacks_in_the_cache_is_fetched_and_nothing_else(workshop: Workshop) -> None:
    """Whatever it depends on: that is in the cache, and the archive has it no more."""
    old, needy = newer(HELLO, "2:1.5"), Deb("needy", "1:1.0", depends="hello (= 2:1.5)", architecture="all")
    workshop.archive.publish([*toy_system(), old, needy], "toy-lacking")
    workshop.config('packages = "needy"')
    words = ["--branch", "toy-lacking", "--rootfs-tar", "x.conf"]
    workshop.build(*words)
    first = (workshop.directory / "x.tar").read_bytes()
    workshop.archive.publish([*toy_system(), newer(HELLO, "9.0"), needy], "toy-lacking")
    held = {path: path.read_bytes() for path in (workshop.cache / "debs").iterdir()}
    (absent,) = (path for path, data in held.items() if package_name(path) == "needy")
    absent.unlink()
    workshop.build("--no-cache", *words)
    assert (workshop.directory / "x.tar").read_bytes() == first
    assert {path: path.read_bytes() for path in (workshop.cache / "debs").iterdir()} == held


def package_name(path: Path) -> str:
    words = ["dpkg-deb", "--field", str(path), "Package"]
    return subprocess.run(words, check=True, capture_output=True).stdout.decode().strip()


def test_a_lock_whose_packages_are_nowhere_any_more(workshop: Workshop) -> None:
    workshop.archive.publish([*toy_system(), newer(HELLO, "4.0")], "toy-gone")
    workshop.config()
    words = ["--branch", "toy-gone", "--rootfs-tar", "x.conf"]
    workshop.build(*words)
    lock = (workshop.directory / "x.lock").read_bytes()
    workshop.archive.publish([*toy_system(), newer(HELLO, "5.0")], "toy-gone")
    workshop.cache = workshop.cache.with_name("empty")
    done = workshop.build(*words, check=False)
    assert (done.status, 'the sources have no "hello" 4.0 any more' in said(done)) == (3, True), said(done)
    assert "hint: lock anew with --update" in said(done)
    assert (workshop.directory / "x.lock").read_bytes() == lock


@pytest.mark.full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("suite", ["bullseye", "trixie"])
def test_other_debian_suites_from_the_hosts_sources(suite: str, tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text('packages = "less"')
    vmbetter("--branch", suite, "--rootfs-tar", "x.conf", directory=tmp_path)
    words = ["tar", "-xOf", str(tmp_path / "x.tar"), "./usr/lib/os-release"]
    release = subprocess.run(words, check=True, capture_output=True).stdout.decode()
    assert f"VERSION_CODENAME={suite}" in release


# In a user namespace of its own, binfmt_misc is too (Linux 6.7): nothing of this host is changed.
EMULATED = r"""
read go
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
echo ":qemu-aarch64:M::$magic:$mask:/usr/bin/qemu-aarch64-static:F" >/proc/sys/fs/binfmt_misc/register
exec "$@"
"""


@pytest.mark.full
@pytest.mark.timeout(1800)
@requires("qemu-aarch64-static")
def test_another_architecture_through_qemu(tmp_path: Path) -> None:
    (tmp_path / "x.conf").write_text('packages = "busybox-static"\npostbuild = `uname -m > /machine`')
    program = [sys.executable, "-m", "megatools.vmbetter.cli", "--cache", str(tmp_path / "cache")]
    alone = ["unshare", "--user", "--mount", "--", "bash", "-ec", EMULATED, "sh"]
    words = [*alone, *program, "--architecture", "arm64", "--rootfs-tar", "x.conf"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdin=subprocess.PIPE) as build:
        space = Path(f"/proc/{build.pid}/ns/user")
        while space.readlink() == Path("/proc/self/ns/user").readlink():
            assert build.poll() is None
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{build.pid}/{kind}").write_text("0 0 65536\n")
        build.communicate(b"go\n", timeout=1500)
    assert build.returncode == 0
    words = ["tar", "-xOf", str(tmp_path / "x.tar"), "./machine"]
    assert subprocess.run(words, check=True, capture_output=True).stdout == b"aarch64\n"


def test_another_architecture_without_qemu_names_the_package(workshop: Workshop) -> None:
    workshop.config()
    hidden = [
        "unshare",
        "--mount",
        "--",
        "sh",
        "-ec",
        'mount -t tmpfs none /proc/sys/fs/binfmt_misc && exec "$@"',
        "sh",
    ]
    done = workshop.build("--architecture", "s390x", "x.conf", before=tuple(hidden), check=False)
    assert done.status == 3, said(done)
    assert 'programs for "s390x" cannot run on this host' in said(done)
    assert "qemu-user-static" in said(done) or "update-binfmts" in said(done)
    done = workshop.build("--architecture", "arm64", "--disk", "x.conf", check=False)
    assert (done.status, 'for amd64 only, not for "arm64"' in said(done)) == (2, True), said(done)
