"""VMs over real hosts: queued, placed, launched from any of them; hosts that die in the middle; nothing doubled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64")]

VMS = 36


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Three daemons of an open mesh; namespace `lab` has them all, and small VMs."""
    with cluster(3, flags=["-mesh-open"]) as found:
        found.start()
        found.wait_for_members()
        prepare(found.daemons[0])
        yield found


def prepare(daemon: Daemon) -> None:
    for line in ("ns add-hosts localhost", "vm config memory 32", "vm config vga none", "vm config backchannel false"):
        assert daemon.ask(f"namespace lab {line}") == ""


def until(condition: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.05)


def where(daemon: Daemon, namespace: str = "lab") -> dict[str, str]:
    """The host of every VM, as one node sees them; a name on two hosts fails."""
    pairs: list[tuple[str, str]] = []
    for answer in daemon.answers(f"namespace {namespace} .columns name vm info"):
        assert not answer["Error"], answer
        table = answer["Tabular"] or []
        assert isinstance(table, list)
        pairs += [(row[0], str(answer["Host"])) for row in table]
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


def clear(daemon: Daemon) -> None:
    daemon.ask("namespace lab vm kill all")
    daemon.ask("namespace lab vm flush")


def test_queue_dry_run_and_launch(knights: Cluster) -> None:
    daemon, other = knights.daemons[:2]
    assert daemon.ask("namespace lab ns hosts") == "kn1: kn[1-3]"
    until(lambda: other.ask("namespace lab ns hosts") == "kn2: kn[1-3]", "the namespace is known on the others")
    for line in ("ns queueing true", "vm launch kvm a,b,c", "vm config colocate a", "vm launch kvm d"):
        assert daemon.ask(f"namespace lab {line}") == ""
    assert daemon.rows("namespace lab ns schedule dry-run") == [
        {"vm": "a", "dst": "kn1"},
        {"vm": "b", "dst": "kn2"},
        {"vm": "c", "dst": "kn3"},
        {"vm": "d", "dst": "kn1"},
    ]
    assert daemon.ask("namespace lab ns schedule mv b kn3") == ""
    assert daemon.ask("namespace lab ns schedule") == ""
    assert where(other) == {"a": "kn1", "b": "kn3", "c": "kn3", "d": "kn1"}
    assert "b -> kn3: `ns schedule mv` put it there" in daemon.ask("namespace lab ns schedule why b")
    (row,) = daemon.rows("namespace lab ns schedule status")
    assert (row["state"], row["launched"], row["failures"], row["total"], row["hosts"]) == (
        "completed",
        "4",
        "0",
        "4",
        "2",
    )
    assert other.refused("namespace lab vm launch kvm a").startswith("vm already exists with name `a`")
    daemon.ask("namespace lab ns queueing false")
    daemon.ask("namespace lab clear vm config colocate")
    clear(other)


def test_the_driver_need_not_be_a_host(knights: Cluster) -> None:
    daemon = knights.daemons[1]
    assert daemon.ask("namespace far ns hosts") == "kn2: kn[1,3]"
    for line in ("vm config memory 32", "vm config vga none", "ns caps cpu 64", "vm launch kvm 4"):
        assert daemon.ask(f"namespace far {line}") == ""
    assert Counter(where(daemon, "far").values()) == {"kn1": 2, "kn3": 2}
    assert len(knights.daemons[1].qemus()) == 0
    error = daemon.refused("namespace far ns del-hosts kn3")
    assert error.startswith('host "kn3" has 2 VMs of namespace "far"'), error
    assert daemon.ask("clear namespace far") == ""
    until(lambda: "far" not in knights.daemons[0].ask("namespace"), "the namespace is gone everywhere")


@pytest.mark.parametrize("how", ["the host loses its power", "its daemon is killed", "its plug is pulled"])
def test_a_host_that_dies_while_it_launches(knights: Cluster, how: str) -> None:
    daemon, victim = knights.daemons[0], knights.daemons[2]
    with ThreadPoolExecutor(1) as pool:
        launch = pool.submit(daemon.answers, f"namespace lab vm launch kvm web[1-{VMS}]")
        until(lambda: bool(victim.qemus()), "the host has begun to launch")
        {"the host loses its power": knights.power_off, "its daemon is killed": knights.kill9}.get(how, knights.cut)(2)
        errors = {str(answer["Host"]): str(answer["Error"]) for answer in launch.result() if answer["Error"]}
    lost = {line.partition(":")[0] for line in errors.get("kn3", "").splitlines() if "is queued again" in line}
    assert set(errors) == {"kn3"} and len(lost) == VMS // 3, errors
    assert {row["name"] for row in daemon.rows("namespace lab ns queue list")} == lost
    assert daemon.answers("namespace lab vm launch")[0]["Error"] == ""
    names = {f"web{number}" for number in range(1, VMS + 1)}

    if how == "its plug is pulled":
        knights.mend(2)
    else:
        victim.start()
    knights.wait_for_members()
    until(lambda: not victim.qemus(), "what was given up has ended")
    until(lambda: set(where(daemon)) == names, "every VM is there once")
    assert set(where(daemon).values()) == {"kn1", "kn2"}
    assert sum(len(each.qemus()) for each in knights.daemons) == VMS
    assert daemon.ask("namespace lab ns queue list") == ""
    assert daemon.ask("namespace lab vm launch kvm again") == ""
    assert where(daemon)["again"] == "kn3"
    clear(knights.daemons[1])
