"""Files between real hosts: fetched, interrupted, changed meanwhile, out of room; images fetched for a launch."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.enrolling import enrol
from tests.support.hosts import Host
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64"), requires("tc")]

_MIB = 1 << 20
_SMALL_MIB = 16


@pytest.fixture(scope="module")
def room() -> Iterator[Path]:
    """The file directory of the third host: a file system of 16 MiB."""
    place = Path(f"/tmp/mt-room-{os.getpid()}")
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SMALL_MIB}m", "mt-room", place], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", place], check=True)
    finally:
        place.rmdir()


@pytest.fixture(scope="module")
def knights(room: Path) -> Iterator[Cluster]:
    """Three daemons with certificates; the third one has little room."""
    with cluster(3, flags_of=lambda index: ["-filepath", str(room)] if index == 2 else []) as found:
        found.start()
        enrol(found)
        yield found


def files(daemon: Daemon) -> Path:
    """A daemon's file directory."""
    flags = list(daemon.flags)
    place = Path(flags[flags.index("-filepath") + 1]) if "-filepath" in flags else daemon.base / "files"
    place.mkdir(exist_ok=True)
    return place


def put(daemon: Daemon, name: str, data: bytes) -> bytes:
    path = files(daemon) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.02)


@contextlib.contextmanager
def slow(host: Host, rate: str) -> Generator[None]:
    """What a host sends goes at a rate of tc(8) while the block runs."""
    tc = ("tc", "qdisc")
    host.run(*tc, "add", "dev", "mgmt", "root", "tbf", "rate", rate, "burst", "128kb", "latency", "100ms")
    try:
        yield
    finally:
        host.run(*tc, "del", "dev", "mgmt", "root")


def coming(daemon: Daemon) -> int:
    """How many chunks of what is on its way are there."""
    return max((int(row["completed"].partition("/")[0]) for row in daemon.rows("file status")), default=0)


def test_files_folders_and_globs_come_whole(knights: Cluster) -> None:
    kn1, kn2, kn3 = knights.daemons
    small = put(kn1, "notes/a.txt", b"a")
    put(kn1, "notes/b.txt", b"b")
    empty = put(kn1, "notes/deep/empty", b"")
    large = put(kn1, "large.img", os.urandom(9 * _MIB + 1))
    assert kn2.ask("file get notes/a.txt") == ""
    assert (files(kn2) / "notes/a.txt").read_bytes() == small
    assert [row["name"] for row in kn2.rows("file list notes")] == ["notes/a.txt"]
    assert kn2.ask("file get notes") == kn2.ask("file get lar*.img") == ""
    assert (files(kn2) / "notes/deep/empty").read_bytes() == empty
    assert (files(kn2) / "large.img").read_bytes() == large
    rows = {row["name"]: row["size"] for row in kn2.rows("file list / recursive")}
    assert rows == {
        "large.img": str(len(large)),
        "notes": rows["notes"],
        "notes/a.txt": "1",
        "notes/b.txt": "1",
        "notes/deep": rows["notes/deep"],
        "notes/deep/empty": "0",
    }
    assert kn3.ask("file get large.img") == ""  # two sources
    assert (files(kn3) / "large.img").read_bytes() == large
    assert kn2.ask("file status") == ""
    assert kn2.refused("file get gone").startswith("get gone: file not found")
    assert "outside" in kn2.refused("file get ../../etc/passwd")
    assert kn3.ask("file delete *") == ""
    assert kn3.ask("file list") == "" and (files(kn2) / "large.img").exists()


def test_a_stream_is_fetched_and_shown(knights: Cluster) -> None:
    kn1, kn2, _ = knights.daemons
    data = put(kn1, "stream.bin", os.urandom(2 * _MIB + 7))
    parts = [base64.b64decode(str(answer["Data"])) for answer in kn2.answers("file stream stream.bin")]
    assert b"".join(parts) == data


def test_what_the_death_of_a_source_interrupts_goes_on(knights: Cluster) -> None:
    kn1, kn2, _ = knights.daemons
    data = put(kn1, "half.img", os.urandom(32 * _MIB))
    with slow(knights.hosts[0], "120mbit"), ThreadPoolExecutor(1) as pool:
        get = pool.submit(kn2.ask, "file get half.img")
        until(lambda: coming(kn2) >= 2, "some chunks are there")
        knights.kill9(0)
        assert not get.done() and not (files(kn2) / "half.img").exists()
        (left,) = (files(kn2) / ".megatools/incoming").iterdir()
        kn1.start()
        assert get.result(120) == ""
    assert (files(kn2) / "half.img").read_bytes() == data
    assert not left.exists()
    knights.wait_for_members()


def test_a_killed_receiver_goes_on_where_it_stopped(knights: Cluster) -> None:
    kn1, kn2, _ = knights.daemons
    data = put(kn1, "rest.img", os.urandom(32 * _MIB))
    sent = Path("/sys/class/net/mgmt/statistics/tx_bytes")
    with slow(knights.hosts[0], "120mbit"), ThreadPoolExecutor(1) as pool:
        get = pool.submit(kn2.answers, "file get rest.img")
        until(lambda: coming(kn2) >= 4, "half of the chunks are there")
        knights.kill9(1)
        assert get.exception(60) is not None
    kn2.start()
    knights.wait_for_members()
    before = int(knights.hosts[0].run("cat", str(sent)))
    assert kn2.ask("file get rest.img") == ""
    assert int(knights.hosts[0].run("cat", str(sent))) - before < 24 * _MIB
    assert (files(kn2) / "rest.img").read_bytes() == data


def test_no_room_is_an_error_and_leaves_nothing(knights: Cluster) -> None:
    kn1, _, kn3 = knights.daemons
    put(kn1, "huge.img", os.urandom((_SMALL_MIB + 4) * _MIB))
    error = kn3.refused("file get huge.img")
    assert error.startswith(f"no room for {_SMALL_MIB + 4} MiB"), error
    assert kn3.ask("file list / recursive") == "" and kn3.ask("file status") == ""
    assert list((files(kn3) / ".megatools/incoming").iterdir()) == []
    fits = put(kn1, "fits.img", os.urandom(_SMALL_MIB // 2 * _MIB))
    assert kn3.ask("file get fits.img") == ""
    assert (files(kn3) / "fits.img").read_bytes() == fits
    kn3.ask("file delete fits.img")


def test_a_file_that_changes_meanwhile_is_the_new_one_or_none(knights: Cluster) -> None:
    kn1, kn2, _ = knights.daemons
    put(kn1, "moving.img", os.urandom(32 * _MIB))
    with slow(knights.hosts[0], "120mbit"), ThreadPoolExecutor(1) as pool:
        get = pool.submit(kn2.ask, "file get moving.img")
        until(lambda: coming(kn2) >= 1, "some chunks are there")
        new = put(kn1, "moving.img", os.urandom(12 * _MIB))
        assert get.result(120) == ""
    assert (files(kn2) / "moving.img").read_bytes() == new


def test_a_prefix_in_the_configuration_fetches(knights: Cluster) -> None:
    kn1, kn2, _ = knights.daemons
    data = put(kn1, "boot/kernel", os.urandom(100_000))
    assert kn2.ask("vm config kernel file:boot/kernel") == ""
    assert kn2.ask(".annotate false vm config kernel") == str(files(kn2) / "boot/kernel")
    assert (files(kn2) / "boot/kernel").read_bytes() == data
    kn2.ask("clear vm config kernel")


def test_a_launch_over_hosts_fetches_its_images_and_tells(knights: Cluster) -> None:
    kn1, kn2, _ = knights.daemons
    disk = files(kn1) / "disk.qcow2"
    backing = files(kn1) / "deep.raw"
    backing.write_bytes(os.urandom(40 * _MIB))
    make = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing.name, "-F", "raw", str(disk)]
    subprocess.run(make, check=True)
    for line in ("ns add-hosts localhost", "ns del-hosts kn3", "vm config memory 32", "vm config vga none"):
        assert kn1.ask(f"namespace lab {line}") == ""
    assert kn1.ask("namespace lab vm config disk file:disk.qcow2") == ""
    told: list[str] = []
    with slow(knights.hosts[0], "120mbit"), ThreadPoolExecutor(1) as pool:
        launch = pool.submit(_told, kn1, "namespace lab vm launch kvm a,b", told)
        until(lambda: coming(kn2) >= 2, "the image is on its way")
        assert launch.result(120) == []
    assert any(text.startswith("fetching images: kn2 deep.raw ") for text in told), told
    rows = {str(answer["Host"]) for answer in kn1.answers("namespace lab vm info") if answer["Tabular"]}
    assert rows == {"kn1", "kn2"}
    assert (files(kn2) / "deep.raw").read_bytes() == backing.read_bytes()
    assert kn1.ask("clear namespace lab") == ""


def _told(daemon: Daemon, line: str, told: list[str]) -> list[object]:
    """The errors of a command; what its client is told meanwhile is added to a list."""
    with daemon.connect() as connection:
        errors: list[object] = []
        for reply in connection.command(line):
            if reply.status:
                told.append(reply.rendered)
            errors += reply.errors
        return errors


def test_an_open_mesh_moves_files_too() -> None:
    with cluster(2, flags=["-mesh-open"]) as found:
        found.start()
        found.wait_for_members()
        data = put(found.daemons[0], "x", os.urandom(5 * _MIB))
        assert found.daemons[1].ask("file get x") == ""
        assert (files(found.daemons[1]) / "x").read_bytes() == data
        assert json.loads(found.daemons[1].ask(".json true file list"))
