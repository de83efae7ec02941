"""Bad days: no space, no network, signals, kill -9, hostile overlays. One clear error, and nothing is changed."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidState
from tests.integration.vmbetter.conftest import CONFIG, Workshop
from tests.support.requires import requires

pytestmark = [requires("mmdebstrap", "zstd", "unshare", "gpg", "dpkg-deb"), pytest.mark.root, pytest.mark.timeout(900)]


def said(done: proc.Completed) -> str:
    return done.stderr.decode()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@contextlib.contextmanager
def small(folder: Path, kib: int) -> Iterator[Path]:
    """A folder with little space."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# from hardly anything, by way of the lists, the packages, the tree and its packed form, to nearly enough
@pytest.mark.parametrize("kib", [8, 300, 6000, 13000, pytest.param(20000, marks=pytest.mark.full)])
def test_no_space_in_the_cache(workshop: Workshop, kib: int) -> None:
    workshop.config(CONFIG + "postbuild = `dd if=/dev/zero of=/filler bs=1M count=30`")
    with small(workshop.cache.with_name("small"), kib) as cache:
        workshop.cache = cache
        done = workshop.build("x.conf", check=False)
    text = said(done)
    assert done.status in (7, 8), text
    assert "no space" in text.lower(), text
    assert "Traceback" not in text
    assert "hint: free some space (vmbetter cache prune), or choose another place with --cache" in text
    assert [path.name for path in workshop.directory.iterdir()] == ["x.conf"]


def test_no_space_for_the_results_leaves_the_old_ones(workshop: Workshop) -> None:
    with small(workshop.directory / "small", 8000) as place:
        workshop.directory = place
        workshop.config()
        workshop.build("x.conf")
        before = contents(place)
        assert {"x.kernel", "x.initrd", "x.lock", "x.manifest"} <= before.keys()
        config = workshop.config(CONFIG + "postbuild = `dd if=/dev/urandom of=/noise bs=1M count=6`")
        done = workshop.build("x.conf", check=False)
        assert done.status == 7, said(done)
        assert 'cannot write "' in said(done)
        assert "no space left on device" in said(done)
        assert contents(place) == before | {"x.conf": config.read_bytes()}


def test_without_a_network_what_is_locked_is_built_and_nothing_else(workshop: Workshop) -> None:
    workshop.config()
    workshop.build("--rootfs-tar", "x.conf")
    before = contents(workshop.directory)
    away = ("unshare", "--net")
    workshop.build("--rootfs-tar", "x.conf", before=away)
    assert contents(workshop.directory) == before
    done = workshop.build("--update", "--rootfs-tar", "x.conf", url="http://192.0.2.1/debian", before=away, check=False)
    assert done.status == 7, said(done)
    assert "the package sources cannot be reached" in said(done)
    assert contents(workshop.directory) == before


QUICK = CONFIG + 'overlay = "over"\npostbuild = `echo begun; rm /usr/share/hello/text`\n'
STUCK = CONFIG + 'overlay = "over"\npostbuild = `echo begun; sleep 86397`\n'
# what a build says, and the config with which it says it
MOMENTS = [
    ("asking the sources", QUICK),
    ("fetching", QUICK),
    ("installing 10 packages", QUICK),
    ("Setting up hello", QUICK),
    ("to be put over", QUICK),
    ("script 1 of 1", QUICK),
    ("begun", STUCK),
    ("packing", QUICK),
]


class Interrupted:
    """A build that gets a signal at a moment; the traces it must not leave."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        (workshop.directory / "over/etc").mkdir(parents=True)
        (workshop.directory / "over/etc/motd").write_text("hi\n")
        workshop.config(QUICK)
        workshop.build("--initrd", "--rootfs-tar", "x.conf")
        self.before = contents(workshop.directory)

    def run(
        self, moment: str, config: str, number: signal.Signals, *, later_s: float = 0.0, options: tuple[str, ...] = ()
    ) -> int:
        """The build's status; `options` are those of a full build unless something else is said."""
        self.workshop.config(config)
        options = options or ("--update", "--no-cache", "--initrd", "--rootfs-tar")
        words = self.workshop.words("--json", *options, "x.conf")
        environment = {**os.environ, **self.workshop.environment}
        with subprocess.Popen(words, cwd=self.workshop.directory, stdout=subprocess.PIPE, env=environment) as build:
            assert build.stdout is not None
            heard = list(_until(build.stdout, moment))
            assert moment in heard[-1], heard
            time.sleep(later_s)  # a moment of its own choice: nothing is waited for
            build.send_signal(number)
            rest = build.stdout.read().decode()
            status = build.wait()
        assert "Traceback" not in rest, rest
        self.workshop.config(QUICK)
        return status

    def check(self, what: str) -> None:
        """Nothing runs, nothing is mounted, and the results are the old ones."""
        base = str(self.workshop.cache.parent)
        _wait(lambda: not _inhabitants(base), f"{what}: {_inhabitants(base)} still run")
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f"{base}/cache" in line]
        assert mounts == [], what
        assert contents(self.workshop.directory) == self.before, what


def _until(stream: object, moment: str) -> Iterator[str]:
    for line in stream:  # type: ignore[attr-defined]
        yield line.decode()
        if moment in line.decode():
            return


def _inhabitants(base: str) -> list[str]:
    """Programs that have to do with a folder, or look at it from a mount namespace of their own."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(path.name) != os.getpid() and base.encode() in (path / "cmdline").read_bytes():
                found.append(path.name)
    return found


def _wait(holds: Callable[[], bool], message: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, message
        time.sleep(0.05)


def test_signals_leave_nothing(workshop: Workshop) -> None:
    interrupted = Interrupted(workshop)
    for turn, (moment, config) in enumerate(MOMENTS):
        number = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[turn % 3]
        assert interrupted.run(moment, config, number) == 128 + number, moment
        interrupted.check(moment)
        assert list((workshop.cache / "work").iterdir()) == [], moment
    workshop.build("--initrd", "--rootfs-tar", "x.conf")
    interrupted.check("a build afterwards")


def test_kill_9_never_poisons_the_cache(workshop: Workshop) -> None:
    interrupted = Interrupted(workshop)
    for moment, config in MOMENTS:
        assert interrupted.run(moment, config, signal.SIGKILL) == -signal.SIGKILL, moment
        interrupted.check(moment)
        workshop.build("--initrd", "--rootfs-tar", "x.conf")
        interrupted.check(f"the build after {moment}")


def test_half_a_tree_is_never_left_by_the_first_half_of_a_build(workshop: Workshop) -> None:
    interrupted = Interrupted(workshop)
    for number in (signal.SIGTERM, signal.SIGKILL):
        status = interrupted.run("unpacking the tree", QUICK, number, options=("-1",))
        assert status in (128 + number, -number)
        interrupted.check(number.name)
        assert not (workshop.directory / "x_stage1").exists()
    with small(workshop.directory / "small", 8000) as place:
        full = Workshop(workshop.archive, workshop.cache, place)
        full.config()
        done = full.build("-1", "x.conf", check=False)
        assert (done.status, "no space" in said(done)) == (7, True), said(done)
        assert [path.name for path in place.iterdir()] == ["x.conf"]
    workshop.build("-1", "x.conf")
    assert (workshop.directory / "x_stage1/etc/motd").read_text() == "hi\n"
    assert list(workshop.directory.glob(".*")) == []
    (workshop.directory / "x_stage1/mine").write_text("kept")
    done = workshop.build("-1", "x.conf", check=False)
    assert (done.status, 'x_stage1" is there already' in said(done)) == (4, True), said(done)
    assert (workshop.directory / "x_stage1/mine").exists()


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_signals_and_kills_at_random_moments(workshop: Workshop) -> None:
    interrupted = Interrupted(workshop)
    chance = random.Random(20240229)
    for turn in range(60):
        number = chance.choice((signal.SIGTERM, signal.SIGINT, signal.SIGKILL))
        later_s = chance.uniform(0, 4)
        what = f"turn {turn}: {number.name} after {later_s:.3f} s"
        status = interrupted.run("asking the sources", QUICK, number, later_s=later_s)
        assert status in (0, 128 + number, -number), what
        interrupted.check(what)
        if number is signal.SIGKILL:
            workshop.build("--initrd", "--rootfs-tar", "x.conf")
            interrupted.check(f"the build after {what}")


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_prune_killed_half_way_poisons_nothing(workshop: Workshop) -> None:
    interrupted = Interrupted(workshop)
    chance = random.Random(7)
    for turn in range(20):
        words = [*workshop.words()[:3], "cache", "prune", "--all", "--cache", str(workshop.cache)]
        with subprocess.Popen(words, env={**os.environ, **workshop.environment}) as prune:
            with contextlib.suppress(subprocess.TimeoutExpired):
                prune.wait(timeout=chance.uniform(0.1, 0.5))
            prune.kill()
        workshop.build("--initrd", "--rootfs-tar", "x.conf")
        interrupted.check(f"turn {turn}")


def test_a_folder_in_which_something_is_mounted_is_never_replaced(workshop: Workshop) -> None:
    """As for a chroot: to remove the old tree would be to empty the host's /dev."""
    workshop.config()
    workshop.build("--rootfs", "x.conf")
    tree, outside = workshop.directory / "x_rootfs", workshop.directory / "outside"
    outside.mkdir()
    (outside / "null").write_text("the host's")
    subprocess.run(["mount", "--bind", str(outside), str(tree / "proc")], check=True)
    try:
        done = workshop.build("--rootfs", "x.conf", check=False)
        assert done.status == InvalidState.exit_code, said(done)
        assert f'is in use: "{tree}/proc" is mounted' in said(done)
        assert f"hint: umount --recursive {tree}/proc" in said(done)
        assert (outside / "null").read_text() == "the host's"
        assert (tree / "usr/share/hello").is_dir()
    finally:
        subprocess.run(["umount", str(tree / "proc")], check=True)
    workshop.build("--rootfs", "x.conf")


def test_device_nodes_are_dead_in_a_tree_on_disk_too(workshop: Workshop) -> None:
    script = (
        "set -e; for place in / /dev /run; do mknod $place/z c 1 5; ! head -c 1 $place/z || exit 9; rm $place/z; done"
    )
    workshop.config(CONFIG + f"postbuild = `{script}; head -c 1 /dev/zero >/seen`")
    workshop.build("-1", "x.conf")
    workshop.build("-2", "x_stage1", "--rootfs-tar", "x.conf")
    assert workshop.file("seen") == "\0"


def test_a_sys_lent_by_the_host_is_read_only(workshop: Workshop) -> None:
    """In a user namespace none can be mounted anew; here root is the host's, whose files these are."""
    look = "ls /sys/kernel/mm >/seen; for path in kernel/mm/ksm/run fs/cgroup; do ! test -w /sys/$path || exit 9; done"
    workshop.config(CONFIG + f"postbuild = `{look}`")
    workshop.build("--rootfs-tar", "x.conf", before=("unshare", "--user", "--map-root-user"))
    assert "ksm" in workshop.file("seen")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def climb(path: Path, host: Path) -> None:
    path.symlink_to("../" * 20 + str(host)[1:])


SPECIAL = "neither a file, a folder nor a link"
HOSTILE: list[tuple[str, Callable[[Path, Path], None], str]] = [
    ("device", lambda over, _: os.mknod(over / "disk", 0o60600, os.makedev(8, 0)), SPECIAL),
    ("pipe", lambda over, _: os.mkfifo(over / "pipe"), SPECIAL),
    ("socket", lambda over, _: make_socket(over / "s"), SPECIAL),
    ("link for a folder", lambda over, host: (over / "etc").symlink_to(host), 'would replace the folder "/etc"'),
    ("absolute link", lambda over, host: (over / "way").symlink_to(host), "meets a link to no folder"),
    ("upward link", lambda over, host: climb(over / "way", host), "meets a link to no folder"),
    ("link to a folder of the tree", lambda over, _: (over / "way").symlink_to("../../etc"), ""),
    ("file for a folder", lambda over, _: (over / "usr").write_text("x"), 'would replace the folder "/usr"'),
    ("folder for a file", lambda over, _: (over / "etc/passwd").mkdir(parents=True), "would replace a file"),
]


@pytest.mark.parametrize(("name", "make", "message"), HOSTILE, ids=[name for name, _, _ in HOSTILE])
def test_hostile_overlays(
    workshop: Workshop, name: str, make: Callable[[Path, Path], None], message: str, tmp_path: Path
) -> None:
    over, second = workshop.directory / "over", workshop.directory / "second"
    over.mkdir()
    make(over, tmp_path)
    (second / "way").mkdir(parents=True)
    (second / "way/file").write_text("from the overlay\n")
    workshop.config(CONFIG + 'overlay = "over second"\n')
    done = workshop.build("--rootfs-tar", "x.conf", check=False)
    text = said(done)
    assert (done.status, message in text) == ((2, True) if message else (0, True)), text
    assert text.count("vmbetter: stage") == bool(message), "one error"
    assert "Traceback" not in text
    assert list(tmp_path.iterdir()) == [], "a file of this host was written"
    if not message:
        assert workshop.file("etc/file") == "from the overlay\n"
    assert (workshop.directory / "x.tar").exists() == (not message)


def test_statuses_are_those_of_the_document(workshop: Workshop) -> None:
    """The others are met in the tests of what leads to them."""
    workshop.config()
    (workshop.directory / "x.lock").write_text("{")
    done = workshop.build("x.conf", check=False)
    assert (done.status, 'lock file "' in said(done)) == (10, True), said(done)
    (workshop.directory / "x.lock").unlink()
    (workshop.directory / "x.initrd").mkdir()
    done = workshop.build("x.conf", check=False)
    assert (done.status, 'x.initrd" is a folder' in said(done)) == (4, True), said(done)
    (workshop.directory / "x.initrd").rmdir()
    workshop.build("x.conf")
    listed = workshop.run("cache", "list", "--json", "--cache", str(workshop.cache))
    assert {"images", "packages", "debs"} <= {one["kind"] for one in json.loads(listed.stdout)}
    (packages,) = (workshop.cache / "packages").glob("*/entry.json")
    digest = json.loads(packages.read_bytes())["files"]["tree.tar.zst"]["sha256"]
    assert [path.name for path in (workshop.cache / "unpacked").iterdir()] == [digest], "a tree is found by its content"
