"""Two hosts joined by a trunk or a tunnel: one network for each VLAN, DHCP included, and nothing left at the end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.hostkit import tunnels
from megatools.hostkit.tunnels import TunnelKind
from tests.integration.cluster.dhcp import lease
from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.hosts import Host
from tests.support.requires import requires

pytestmark = [
    pytest.mark.root,
    requires("ip", "unshare", "tcpdump", "ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "dnsmasq", "busybox"),
]
SUBNET = "10.7.0"


@pytest.fixture(scope="module")
def pair() -> Iterator[Cluster]:
    """Two hosts with a server for VLAN 5 on the first, and neighbours on VLANs 5 and 6 on the second."""
    with cluster(2, trunk=True) as knights:
        knights.start()
        first, second = knights.daemons
        first.ask(f"tap create 5 ip {SUBNET}.1/24")
        first.ask(f"dnsmasq start {SUBNET}.1 {SUBNET}.10 {SUBNET}.20")
        second.ask("tap create 5 name five")
        second.ask("tap create 6 name six")
        yield knights


@pytest.fixture(params=["trunk", "vxlan", "gre"])
def joined(request: pytest.FixtureRequest, pair: Cluster) -> Iterator[Cluster]:
    """The two, joined one way; at the end the way is taken away again. Some kernels have no GRE."""
    way = request.param
    if way == "gre" and not asyncio.run(tunnels.can_make(TunnelKind.GRE)):
        other = pair.hosts[1].address
        refused = pair.daemons[0].refused(f"bridge tunnel gre mega_bridge {other} 77")
        assert refused.startswith("the kernel of this host has no gre tunnels")
        pytest.skip("this kernel has no GRE tunnels")
    names = list(map(_join, pair.daemons, reversed(pair.hosts), [way] * 2))
    yield pair
    for daemon, name in zip(pair.daemons, names, strict=True):
        daemon.ask(f"bridge no{'trunk' if way == 'trunk' else 'tunnel'} mega_bridge {name}")
    (row,) = pair.daemons[0].rows("bridge")
    assert (row["trunks"], row["tunnels"]) == ("[]", "[]")


def _join(daemon: Daemon, other: Host, way: str) -> str:
    if way == "trunk":
        daemon.ask("bridge trunk mega_bridge trunk0")
        return "trunk0"
    return daemon.ask(f"bridge tunnel {way} mega_bridge {other.address} 77").split()[-1]


def test_a_vlan_is_one_network_and_others_stay_apart(joined: Cluster, tmp_path: Path) -> None:
    first, second = joined.hosts
    with joined.capture(0, tmp_path / "mgmt.pcap", "udp port 4789 or ip proto 47"):
        told = lease(second, "five")
    assert told["ip"].startswith(f"{SUBNET}.")
    assert lease(second, "six", seconds=3) == {}
    (row,) = joined.daemons[0].rows("bridge")
    tunnelled = row["tunnels"] != "[]"
    gre = "gre" in row["tunnels"]
    assert told["mtu"] == ("1454" if gre else "1446" if tunnelled else "")
    text = subprocess.run(["tcpdump", "-ner", tmp_path / "mgmt.pcap"], capture_output=True, text=True).stdout
    assert ("vlan 5" in text) == tunnelled  # the tag of the VLAN travels inside
    assert ("GREv0" in text) == gre
    second.run("ip", "addr", "add", f"{told['ip']}/24", "dev", "five")
    try:
        second.run("ip", "route", "get", f"{SUBNET}.1")
        second.run("ping", "-c1", "-W10", f"{SUBNET}.1")
        # a full frame of a guest fits, though it is longer than the way lets through in one piece
        second.run("ping", "-c3", "-i0.2", "-W10", "-M", "do", "-s", "1472", f"{SUBNET}.1")
        assert _transfer(first, second) == 3_000_000
    finally:
        second.run("ip", "addr", "flush", "dev", "five")


def _transfer(server: Host, client: Host) -> int:
    """How many bytes of a TCP stream through the bridges arrive."""
    listen = (
        f"import socket; s = socket.create_server(('{SUBNET}.1', 7000)); print('on', flush=True); c, _ = s.accept()"
    )
    count = "\nn = 0\nwhile data := c.recv(65536): n += len(data)\nprint(n)"
    connect = f"import socket; s = socket.create_connection(('{SUBNET}.1', 7000)); s.sendall(bytes(3000000))"
    with server.start(sys.executable, "-c", listen + count) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == b"on\n"
        client.run(sys.executable, "-c", connect)
        return int(receiver.communicate(timeout=60)[0])


def test_the_next_daemon_adopts_what_joins_it(joined: Cluster) -> None:
    first = joined.daemons[0]
    before = first.rows("bridge")
    first.kill9()
    first.start()
    assert first.rows("bridge") == before
    assert lease(joined.hosts[1], "five")["ip"].startswith(f"{SUBNET}.")


def test_what_cannot_be_is_refused_and_leaves_nothing(joined: Cluster) -> None:
    first = joined.daemons[0]
    other = joined.hosts[1].address
    links = joined.hosts[0].links()
    (row,) = first.rows("bridge")
    assert "mgmt" in first.refused("bridge trunk mega_bridge mgmt").splitlines()[0]
    assert first.refused("bridge trunk mega_bridge eth9") == 'no interface "eth9" on this host'
    assert first.refused("bridge notrunk mega_bridge eth9").splitlines()[0] == "unknown trunk: eth9"
    assert first.refused("bridge notunnel mega_bridge t9").splitlines()[0] == "unknown tunnel: t9"
    assert first.refused("bridge tunnel vxlan mega_bridge frog").startswith('invalid IP address "frog"')
    assert first.refused(f"bridge tunnel vxlan mega_bridge {other} 16777216").startswith('invalid key "16777216"')
    assert "own address" in first.refused(f"bridge tunnel vxlan mega_bridge {joined.hosts[0].address}")
    kind = "gre" if "gre" in row["tunnels"] else "vxlan"
    if row["tunnels"] == "[]":
        assert first.refused("bridge trunk mega_bridge trunk0") == "bridge already trunking to trunk0"
        assert "is a trunk of" in first.refused("bridge trunk second trunk0")
    else:
        assert "has a tunnel to" in first.refused(f"bridge tunnel {kind} mega_bridge {other} 78")
        if kind == "vxlan":  # one of its devices has all the ends of a key
            assert "key 77 exists" in first.refused("bridge tunnel vxlan mega_bridge 10.99.0.77 77")
    assert "is in use" in first.refused("bridge destroy mega_bridge")
    assert first.rows("bridge") == [row]
    assert joined.hosts[0].links() == links


def test_clients_are_told_an_mtu_that_passes_tunnels_while_there_are_any(pair: Cluster) -> None:
    first, host = pair.daemons[0], pair.hosts[0]
    first.ask("tap create 5 name near")
    name = first.ask("bridge tunnel vxlan mega_bridge 10.99.0.77 5").split()[-1]
    assert lease(host, "near")["mtu"] == "1446"
    first.ask("dnsmasq configure all options option:mtu,1300")
    assert lease(host, "near")["mtu"] == "1300"
    first.ask("dnsmasq kill all")
    first.ask(f"dnsmasq start {SUBNET}.1 {SUBNET}.10 {SUBNET}.20")
    assert lease(host, "near")["mtu"] == "1446"
    first.ask(f"bridge notunnel mega_bridge {name}")
    assert lease(host, "near")["mtu"] == "1500"
    first.ask("tap delete near")


def test_a_tunnel_that_lost_its_device_is_not_adopted(pair: Cluster) -> None:
    first, host = pair.daemons[0], pair.hosts[0]
    name = first.ask("bridge tunnel vxlan mega_bridge 10.99.0.77 5").split()[-1]
    first.kill9()
    host.run("ip", "link", "delete", name)
    first.start()
    assert [row["tunnels"] for row in first.rows("bridge")] == ["[]"]
    assert first.ask("bridge tunnel vxlan mega_bridge 10.99.0.77 5").split()[-1] == name
    first.ask(f"bridge notunnel mega_bridge {name}")


def test_quitting_removes_tunnels_and_gives_cards_back() -> None:
    with cluster(1, trunk=True) as knights:
        host, daemon = knights.hosts[0], knights.daemons[0]
        host.run("ip", "link", "set", "trunk0", "down")
        before = host.run("ip", "-o", "link", "show", "trunk0")
        knights.start()
        daemon.ask("bridge trunk mega_bridge trunk0")
        assert "PROMISC,UP" in host.run("ip", "-o", "link", "show", "trunk0")
        daemon.ask("bridge tunnel vxlan second 10.99.0.77 5")
        daemon.kill9()
        daemon.start()
        assert [(row["trunks"], row["tunnels"]) for row in daemon.rows("bridge")] == [
            ("[trunk0]", "[]"),
            ("[]", "[mega_vxlan0]"),
        ]
        assert daemon.quit() == 0
        assert host.links() == {"mgmt", "trunk0"}
        assert host.run("ip", "-o", "link", "show", "trunk0") == before
        assert host.pids() == []
