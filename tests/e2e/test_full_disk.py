"""A node whose disk is full for a while: it says so, the others go on, and with room again all agree by themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon, Row
from tests.support.enrolling import enrol
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "ovsdb-server")]

_SIZE_MIB = 24
SMALL = 2  # the host with the small disk


@contextlib.contextmanager
def little_room(place: Path) -> Iterator[None]:
    """A directory is a file system of its own, a small one."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m", "mt-disk", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Three daemons with certificates; base and cluster directory of the last are on a small disk."""
    with cluster(3, flags=["-msa", "2", "-level", "info"]) as found, little_room(disk(found)):
        found.start()
        enrol(found)
        found.daemons[0].ask("namespace lab ns add-hosts localhost")
        for line in ("vm config memory 32", "vm config vga none", "vm config schedule kn3", "vm config net before"):
            found.ask_all(f"namespace lab {line}", 0, SMALL)
        yield found


def disk(knights: Cluster) -> Path:
    """Where the small disk is."""
    return knights.daemons[SMALL].base.parent


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """No room is left on the disk while the block runs."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    stream.write(b"\1" * size)
    try:
        yield
    finally:
        ballast.unlink()


def wait(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def vms(daemon: Daemon) -> dict[str, Row]:
    """The VMs of the namespace as a host shows them, by name."""
    return {row["name"]: row for row in daemon.rows("namespace lab .columns name,state,tags vm info")}


def aliases(daemon: Daemon) -> dict[str, str]:
    """The names of VLANs a host shows, and their numbers."""
    return {row["alias"]: row["vlan"] for row in daemon.rows("namespace lab vlans")}


def taps_of(daemon: Daemon) -> set[str]:
    """The VMs that have a tap on a host."""
    return {row["name"] for row in daemon.rows("namespace lab vm info") if row["tap"] != "[]"}


def errors(daemon: Daemon, line: str) -> str:
    """All errors of a line."""
    return "\n".join(str(each["Error"]) for each in daemon.answers(f"namespace lab {line}") if each["Error"])


def test_a_full_disk_is_named_and_made_good_when_there_is_room(knights: Cluster) -> None:
    first, second, small = knights.daemons
    first.ask("namespace lab vm launch kvm a,b,c,d")
    first.ask("namespace lab vm start all")
    with full(disk(knights)):
        for daemon, line in (
            (first, "vm launch kvm late"),
            (first, "vm kill a"),
            (first, "vm tag b color red"),
            (small, "vm launch kvm late"),
            (small, "vm tag c color red"),
            (small, "tap create apart"),
        ):
            answer = errors(daemon, line)
            assert str(disk(knights)) in answer, f"{line}: {answer}"
            assert "full" in answer or "no space left" in answer, f"{line}: {answer}"
        (dying,) = [int(row["pid"]) for row in small.rows("namespace lab vm info") if row["name"] == "c"]
        os.kill(dying, signal.SIGKILL)
        wait(lambda: vms(first)["c"]["state"] == "ERROR", lambda: str(vms(first)))
        first.ask("namespace lab tap create lan")
        second.ask("mesh send all version")
        assert small.ask("version")
        assert {name: row["state"] for name, row in vms(first).items()} == {
            "a": "QUIT",
            "c": "ERROR",
            **dict.fromkeys("bd", "RUNNING"),
        }
        small.ask("namespace lab vlans add dmz 700")  # the others are a majority
        second.ask("namespace lab ns add-hosts localhost")
    first.ask("namespace lab vm tag d color blue")
    first.ask("namespace lab vm start c")
    assert errors(first, "vm launch kvm late") == ""
    names = {"before", "lan", "dmz", "apart"}  # the others gave "apart" its number, only the tap was not made
    agreed(knights, names)
    small.ask("namespace lab tap create apart")
    agreed(knights, names)
    wait(lambda: taps_of(small) == {"b", "c", "d", "late"}, lambda: f"{taps_of(small)}\n{small.log_text()}")
    assert "Traceback" not in small.log_text()


@pytest.mark.full
def test_a_disk_that_fills_up_in_the_middle_of_a_launch(knights: Cluster) -> None:
    first, second, small = knights.daemons
    before, running = set(vms(first)), len(small.qemus())
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(errors, first, "vm launch kvm many[1-24]")
        wait(lambda: len(small.qemus()) >= running + 6 or end.done(), lambda: "nothing is launched")
        with full(disk(knights)):
            knights.kill9(1)
            knights.start(1)
            knights.wait_for_members()
            answer = end.result(60)
    assert [line for line in answer.splitlines() if "many" in line and str(disk(knights)) not in line] == []
    launched = {f"many{number}" for number in range(1, 25) if f"many{number}:" not in answer}
    assert set(vms(first)) - before == launched
    agreed(knights, set(aliases(first)))
    first.ask("namespace lab vm flush all")
    first.ask("namespace lab vm kill all")
    first.ask("namespace lab vm flush all")
    assert vms(second) == {}
    wait(lambda: not [path for path in small.base.iterdir() if path.name.isdigit()], lambda: "directories are left")
    assert "Traceback" not in small.log_text()


def agreed(knights: Cluster, names: set[str]) -> None:
    """Wait until all hosts show the same names of VLANs, and the same VMs."""
    found: list[tuple[object, object]] = []

    def same() -> bool:
        found[:] = knights.each(lambda daemon: (aliases(daemon), vms(daemon)))
        return all(each == found[0] for each in found) and set(aliases(knights.daemons[0])) == names

    wait(same, lambda: str(found))
