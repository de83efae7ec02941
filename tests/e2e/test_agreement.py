"""Three hosts without a head: they agree on VLAN names, and on what was asked while one was away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import Cluster, cluster, mesh_size
from tests.support.daemon import Daemon
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare", "ovs-vswitchd", "ovsdb-server")]


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Three daemons of an open mesh that notice soon when one is gone."""
    with cluster(3, flags=["-mesh-open", "-msa", "2", "-level", "info"]) as found:
        found.start()
        found.wait_for_members()
        yield found


def aliases(daemon: Daemon, namespace: str = "minimega") -> dict[str, str]:
    """The names of VLANs a host shows, and their numbers."""
    return {row["alias"]: row["vlan"] for row in daemon.rows(f"namespace {namespace} vlans")}


def agreed(knights: Cluster, names: set[str], namespace: str = "minimega") -> dict[str, str]:
    """What all hosts show, once they show the same and it has these names."""
    wanted: list[dict[str, str]] = []

    def same() -> bool:
        wanted[:] = [aliases(daemon, namespace) for daemon in knights.daemons]
        return all(each == wanted[0] and set(each) == names for each in wanted)

    wait(same, lambda: f"{wanted}")
    return wanted[0]


def wait(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.1)


def tap(daemon: Daemon, vlan: str) -> str:
    """Use a VLAN on a host, which gives it a number if it has none."""
    return daemon.ask(f"tap create {vlan}")


def test_names_given_on_all_hosts_at_once_are_the_same_everywhere(knights: Cluster) -> None:
    names = [f"net{number}" for number in range(4)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(tap, knights.daemons * 4, [name for name in names for _ in knights.daemons]))
    numbers = agreed(knights, set(names))
    assert len(set(numbers.values())) == 4
    tags = [{row["vlan"] for row in daemon.rows("tap")} for daemon in knights.daemons]
    assert tags[0] == tags[1] == tags[2] == {f"{name} ({number})" for name, number in numbers.items()}


def test_a_name_given_over_the_mesh_is_one_network(knights: Cluster) -> None:
    before = set(aliases(knights.daemons[0]))
    knights.daemons[0].ask("mesh send all tap create lan")
    agreed(knights, before | {"lan"})
    knights.daemons[2].ask("vlans add dmz 700")
    assert "alias already in use" in knights.daemons[0].refused("vlans add dmz 701")
    assert agreed(knights, before | {"lan", "dmz"})["dmz"] == "700"
    knights.daemons[1].ask("clear vlans dm")
    agreed(knights, before | {"lan"})


def test_the_smaller_side_says_so_and_all_agree_once_healed(knights: Cluster) -> None:
    before = aliases(knights.daemons[0])
    alone = knights.daemons[2]
    knights.cut(2)
    try:
        wait(lambda: mesh_size(alone) == 1 and mesh_size(knights.daemons[0]) == 2, lambda: "nobody noticed")
        refused = alone.refused("tap create apart")
        assert "cannot agree on VLANs: kn3 of kn[1-3] answered" in refused
        assert "a VLAN number, such as 300" in refused
        tap(alone, next(iter(before)))
        tap(alone, "300")
        tap(knights.daemons[1], "apart")
        assert "apart" in aliases(knights.daemons[1])
    finally:
        knights.mend(2)
    knights.wait_for_members()
    numbers = agreed(knights, {*before, "apart"})
    assert numbers.items() >= before.items()
    tap(alone, "apart")
    assert agreed(knights, {*before, "apart"}) == numbers


def test_who_quits_is_waited_for_no_longer_and_who_comes_back_knows_all(knights: Cluster) -> None:
    before = aliases(knights.daemons[0])
    for index in (1, 2):
        assert knights.daemons[index].quit() == 0
    first = knights.daemons[0]
    wait(lambda: mesh_size(first) == 1, lambda: "nobody noticed")
    tap(first, "later")
    knights.start(1, 2)
    knights.wait_for_members()
    assert agreed(knights, {*before, "later"}).items() >= before.items()


def test_the_hosts_of_a_namespace_decide_and_change(knights: Cluster) -> None:
    first, second, third = knights.daemons
    first.ask("namespace lab ns add-hosts localhost")
    first.ask("namespace lab tap create lan")
    lan = aliases(first, "lab")["lan"]
    assert agreed(knights, {"lan"}, "lab") == {"lan": lan}
    first.ask("namespace lab ns del-hosts kn[2-3]")
    wait(lambda: 'VLANs of namespace "lab" are decided by kn1\n' in first.log_text(), first.log_text)
    knights.cut(0)
    try:
        wait(lambda: mesh_size(first) == 1 and mesh_size(third) == 2, lambda: "nobody noticed")
        wait(lambda: aliases(first, "lab") == {"lan": lan}, lambda: "forgotten")
        tap(first, "lab//alone")
        assert "kn1" in second.refused("namespace lab vlans add dmz 900")
    finally:
        knights.mend(0)
    knights.wait_for_members()
    assert agreed(knights, {"lan", "alone"}, "lab")["lan"] == lan
    first.ask("clear namespace lab")
    wait(lambda: not any(aliases(daemon, "lab") for daemon in knights.daemons), lambda: "names are left")


@requires("qemu-system-x86_64")
def test_kills_and_tags_for_a_host_that_is_away_are_done_when_it_returns(knights: Cluster) -> None:
    first, _, third = knights.daemons
    for line in ("ns add-hosts localhost", "vm config memory 32", "vm config schedule kn3", "vm launch kvm a,b"):
        first.ask(f"namespace far {line}")
    first.ask("namespace far vm start all")
    wait(lambda: len(third.rows("namespace far vm info")) == 2, lambda: "not launched")
    knights.cut(2)
    try:
        wait(lambda: mesh_size(first) == 2 and mesh_size(third) == 1, lambda: "nobody noticed")
        assert "kn3 is away; done when it returns" in first.ask("namespace far vm kill a")
        assert "kn3 is away; done when it returns" in first.ask("namespace far vm tag b color red")
        assert "kn3" in first.refused("namespace far vm stop b")
    finally:
        knights.mend(2)
    knights.wait_for_members()

    def done() -> bool:
        rows = {row["name"]: row for row in first.rows("namespace far vm info")}
        return {name: row["state"] for name, row in rows.items()} == {"a": "QUIT", "b": "RUNNING"} and (
            "red" in rows["b"]["tags"]
        )

    wait(done, lambda: f"{first.rows('namespace far vm info')}\n{third.log_text()}")
    first.ask("clear namespace far")


def test_hosts_that_will_not_come_back_are_forgotten(knights: Cluster) -> None:
    first = knights.daemons[0]
    before = set(aliases(first))
    assert "kn2 is in the mesh" in first.refused("cluster forget kn2")
    for index in (1, 2):
        knights.kill9(index)
    wait(lambda: mesh_size(first) == 1, lambda: "nobody noticed")
    assert "kn1 of kn[1-3] answered" in first.refused("vlans add last 800")
    first.ask("cluster forget kn[2-3]")
    first.ask("vlans add last 800")
    knights.start(1, 2)
    knights.wait_for_members()
    agreed(knights, before | {"last"})
