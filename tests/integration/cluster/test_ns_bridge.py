"""Three real daemons in an open mesh, one bridge over the namespace's hosts: real frames, crashes, hosts that come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.cluster.dhcp import lease
from tests.support.cluster import Cluster, cluster
from tests.support.requires import requires

pytestmark = [
    pytest.mark.root,
    requires("ip", "unshare", "ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "dnsmasq", "busybox"),
]


@pytest.fixture
def trio() -> Iterator[Cluster]:
    """Three hosts that are members of one mesh; namespace lab has the first two."""
    with cluster(3, flags=["-mesh-open", "-degree", "3"]) as knights:
        knights.start()
        knights.wait_for_members()
        first = knights.daemons[0]
        first.ask("namespace lab ns add-hosts localhost")
        first.ask("namespace lab ns del-hosts kn3")
        until(lambda: all("kn[1-2]" in text for text in knights.ask_all("namespace lab ns hosts")))
        yield knights


def until(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "not so in time"
        time.sleep(0.1)


def tunnels(knights: Cluster, index: int) -> str:
    """The tunnels of a host's bridge."""
    rows = knights.daemons[index].rows("bridge")
    return next((row["tunnels"] for row in rows if row["bridge"] == "mega_bridge"), "")


def test_a_bridge_over_the_hosts_of_a_namespace(trio: Cluster) -> None:
    first, second, third = trio.daemons
    note = second.ask("namespace lab ns bridge mega_bridge")
    assert note == "" or "joined with vxlan: kn[1-2] cannot make gre tunnels" in note
    first.ask("tap create 5 ip 10.7.0.1/24")
    first.ask("dnsmasq start 10.7.0.1 10.7.0.10 10.7.0.20")
    for daemon in (second, third):
        daemon.ask("tap create 5 name five")
        daemon.ask("tap create 6 name six")
    assert lease(trio.hosts[1], "five")["ip"].startswith("10.7.0.")
    assert lease(trio.hosts[1], "six", seconds=2) == {}
    assert lease(trio.hosts[2], "five", seconds=2) == {}

    third.ask("namespace lab ns add-hosts localhost")  # any node may; the newcomer is joined
    until(lambda: tunnels(trio, 2) not in ("", "[]"))
    until(lambda: lease(trio.hosts[2], "five", seconds=2) != {})
    assert lease(trio.hosts[2], "six", seconds=2) == {}

    trio.kill9(1)
    trio.start(1)
    assert tunnels(trio, 1) != "[]"
    assert lease(trio.hosts[1], "five")["ip"].startswith("10.7.0.")

    trio.power_off(2)  # what it made is gone, what it knew is not
    trio.start(2)
    third.ask("tap create 5 name five")
    until(lambda: tunnels(trio, 2) not in ("", "[]"))
    until(lambda: lease(trio.hosts[2], "five", seconds=2) != {})

    assert third.quit() == 0  # and one that ended in peace is joined again too
    trio.start(2)
    third.ask("tap create 5 name five")
    until(lambda: lease(trio.hosts[2], "five", seconds=2) != {})

    assert first.ask("namespace lab ns del-bridge mega_bridge") == ""
    assert [tunnels(trio, index) for index in range(3)] == ["[]"] * 3
    assert lease(trio.hosts[1], "five", seconds=2) == {}
    assert first.refused("namespace lab ns del-bridge mega_bridge").splitlines()[0] == (
        'bridge "mega_bridge" does not join the hosts of namespace "lab"'
    )


def test_a_host_that_is_away_follows_when_it_is_back(trio: Cluster) -> None:
    first = trio.daemons[0]
    first.ask("namespace lab ns add-hosts kn3")
    trio.kill9(2)
    assert "kn3 did not answer: it joins once it is back" in first.ask("namespace lab ns bridge other vxlan")
    trio.start(2)
    until(lambda: any(row["bridge"] == "other" and row["tunnels"] != "[]" for row in trio.daemons[2].rows("bridge")))
    trio.kill9(2)
    assert "kn3 did not answer" in first.ask("clear namespace lab")
    assert "mega_vxlan0" not in trio.hosts[0].links()
    trio.start(2)
    until(lambda: "mega_vxlan0" not in trio.hosts[2].links())


def test_what_would_be_a_loop_or_cannot_be_is_refused(trio: Cluster) -> None:
    first, second, _ = trio.daemons
    name = second.ask(f"bridge tunnel vxlan mega_bridge {trio.hosts[0].address} 9").split()[-1]
    assert first.refused("namespace lab ns bridge mega_bridge vxlan").splitlines()[0] == (
        'bridge "mega_bridge" of kn2 has a tunnel to kn1 already'
    )
    second.ask(f"bridge notunnel mega_bridge {name}")
    first.ask("namespace lab ns bridge mega_bridge vxlan")
    assert "has a tunnel to" in second.refused(f"bridge tunnel vxlan mega_bridge {trio.hosts[0].address} 9")
    assert "joins the hosts of a namespace" in second.refused(f"bridge notunnel mega_bridge {name}")
    assert first.ask("ns bridge mega_bridge") == ""  # the default namespace has one host
