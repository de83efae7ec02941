"""Hosts become nodes of a cluster with the commands a user gives, with running daemons and without."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.enrolling import enrol, invited
from tests.support.hosts import Host
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare")]


def shell(host: Host, daemon: Daemon, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`minimega cluster ...` from a shell on a host."""
    flags = [f"-base={daemon.base}", *daemon.flags]
    argv = [*host.prefix, sys.executable, "-m", "megatools.minimega.app.main", *flags, "cluster", *words]
    return subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Four hosts, three of them with a daemon; the tests of the class make them a cluster, one step after another."""
    with cluster(4) as found:
        found.start(0, 1, 2)
        yield found


def listed(daemon: Daemon, *names: str) -> list[dict[str, str]]:
    """The rows of `cluster list` once it has these names: records travel."""
    deadline = time.monotonic() + 30
    while True:
        rows = daemon.rows("cluster list")
        if [row["name"] for row in rows] == list(names):
            return rows
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)


class TestRunningDaemons:
    """The life of a cluster."""

    def test_without_a_cluster_nothing_listens(self, knights: Cluster) -> None:
        daemon = knights.daemons[0]
        (row,) = daemon.rows("cluster")
        assert (row["security"], row["cluster"], row["node"]) == ("off", "", "kn1")
        assert "900" not in knights.hosts[0].run("ss", "-Hltun")
        assert "not on this host" in daemon.refused("cluster invite")
        assert "in no cluster" in daemon.refused("cluster leave")
        assert 'no node "kn2" is enrolled' in daemon.refused("cluster revoke kn2")

    def test_hosts_are_in_the_mesh_as_soon_as_they_joined(self, knights: Cluster) -> None:
        one, two, three = knights.daemons[:3]
        assert '"kn1" is the first node of a new cluster' in one.ask("cluster init knights")
        assert "in a cluster already" in one.refused("cluster init")
        line = invited(one, "kn2")
        assert ":9003" in knights.hosts[0].run("ss", "-Hltn")
        assert "is a node of cluster knights" in two.ask(line)
        assert "in a cluster already" in two.refused(line)
        assert "used already" in three.refused(line)
        assert 'a node called "kn2" is in the cluster' in one.refused("cluster invite kn2")
        three.ask(invited(one, "kn3 read-only"))
        knights.wait_for_members(3, 0, 1, 2)
        rows = listed(two, "kn1", "kn2", "kn3")
        assert [(r["name"], r["role"], r["revoked"], r["connected"]) for r in rows] == [
            ("kn1", "full", "false", "true"),
            ("kn2", "full", "false", "true"),
            ("kn3", "read-only", "false", "true"),
        ]
        (row,) = three.rows("cluster")
        assert (row["security"], row["role"], row["authority"]) == ("tls", "read-only", "kn1")
        assert row["cluster"].startswith("knights ")

    def test_a_reader_reads(self, knights: Cluster) -> None:
        one, _, three = knights.daemons[:3]
        assert three.ask("mesh send all version").count("minimega") in (1, 2)  # one line when they came together
        assert 'node "kn3" may only read' in three.refused("mesh send kn1 vm launch kvm forbidden")
        assert 'node "kn3" may only read' in three.refused("mesh send kn1 shell true")
        assert "may not revoke" in three.refused("cluster revoke kn2")
        assert one.rows("vm info") == []
        assert one.ask("mesh send kn3 version")

    def test_the_shell_goes_through_the_running_daemon(self, knights: Cluster) -> None:
        host, daemon = knights.hosts[0], knights.daemons[0]
        done = shell(host, daemon, "list")
        assert done.returncode == 0 and done.stdout.splitlines()[1].split()[0] == "kn1"
        done = shell(host, daemon, "invite", "kn4", "full", "red")
        assert done.stdout.startswith("minimega cluster join 10.99.0.1 mt1.")
        assert shell(host, daemon, "nonsense").returncode == 1

    def test_a_host_without_a_daemon_joins_and_its_next_daemon_is_a_member(self, knights: Cluster) -> None:
        host, daemon = knights.hosts[3], knights.daemons[3]
        words = invited(knights.daemons[0], "any full red").split()[1:]
        assert "no token" in shell(host, daemon, "join", words[1], "nonsense").stderr
        nobody = shell(host, daemon, "join", "10.99.0.2", words[2])
        assert nobody.returncode == 7 and 'nobody takes new nodes at "10.99.0.2"' in nobody.stderr
        done = shell(host, daemon, "join", words[1], "-", stdin=f"{words[2]}\n")
        assert done.returncode == 0 and '"kn4" is a node of cluster knights' in done.stdout
        assert "in a cluster already" in shell(host, daemon, "init").stderr
        assert "red" in shell(host, daemon).stdout
        assert "takes a running daemon" in shell(host, daemon, "invite").stderr
        daemon.start()
        knights.wait_for_members(4)
        assert listed(knights.daemons[1], "kn1", "kn2", "kn3", "kn4")[3]["namespace"] == "red"
        assert 'may not act in namespace "minimega"' in daemon.refused("mesh send kn1 vm info")
        daemon.ask("namespace red")
        assert 'may only act within namespace "red"' in daemon.refused("mesh send kn1 shell true")
        assert daemon.ask("mesh send kn1 vm info") == ""

    def test_who_left_is_out_at_once(self, knights: Cluster) -> None:
        daemon = knights.daemons[3]
        daemon.ask("cluster leave")
        knights.wait_for_members(3, 0, 1, 2)
        knights.wait_for_members(1, 3)
        assert daemon.rows("cluster")[0]["security"] == "off"


def test_a_cluster_founded_without_a_daemon() -> None:
    with cluster(2) as found:
        (one, two), (host, _) = found.daemons, found.hosts
        assert "first node of a new cluster" in shell(host, one, "init", "knights").stdout
        found.start()
        assert one.rows("cluster")[0]["security"] == "tls"
        two.ask(invited(one))
        found.wait_for_members()
        one.quit()
        one.start()
        found.wait_for_members()
        assert listed(two, "kn1", "kn2") == listed(one, "kn1", "kn2")


def test_credentials_of_another_host_are_not_used() -> None:
    """A copied directory makes no second node: not on a host of another name, and not on one of the same."""
    with cluster(3) as found:
        found.start(0, 1)
        one, two, three = found.daemons
        one.ask("cluster init")
        two.ask(invited(one, "kn2"))
        found.wait_for_members(2, 0, 1)
        shutil.copytree(two.base.with_name("cluster"), three.base.with_name("cluster"))
        three.start()
        (row,) = three.rows("cluster")
        assert row["security"] == "off"
        assert 'this host is "kn3", but its cluster certificate is for "kn2"' in row["remarks"]
        assert 'this host is "kn3"' in three.rows("mesh status")[0]["remarks"]
        three.quit()
        three.prefix = tuple('hostname kn2; exec "$@"' if "hostname kn3" in word else word for word in three.prefix)
        three.start()
        found.wait_for_members(3, 0)
        assert 'several nodes are named "kn2"' in one.refused("mesh send kn2 version")
        three.quit()
        found.wait_for_members(2, 0)
        assert one.ask("mesh send kn2 version")


def test_damage_is_said_and_the_daemon_starts() -> None:
    with cluster(1) as found:
        (daemon,) = found.daemons
        daemon.start()
        daemon.ask("cluster init")
        daemon.quit()
        path = daemon.base.with_name("cluster") / "node.pem"
        path.write_bytes(path.read_bytes()[:-200])
        daemon.start()
        assert "are damaged" in daemon.rows("cluster")[0]["remarks"]
        assert "are damaged" in daemon.refused("cluster invite kn2")


def test_an_open_daemon_says_that_its_certificate_is_of_no_use() -> None:
    with cluster(1, flags=["-mesh-open"]) as found:
        (daemon,) = found.daemons
        daemon.start()
        daemon.ask("cluster init")
        (row,) = daemon.rows("cluster")
        assert row["security"] == "open" and "without certificates: start it again" in row["remarks"]


def test_a_lab_is_enrolled_in_one_go() -> None:
    with cluster(3) as found:
        found.start()
        enrol(found, {"kn3": "read-only"})
        rows = listed(found.daemons[1], "kn1", "kn2", "kn3")
        assert [row["role"] for row in rows] == ["full", "full", "read-only"]
