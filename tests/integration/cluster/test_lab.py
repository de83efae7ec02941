"""The lab of several hosts that cluster tests stand on does what they rely on."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.cluster import cluster
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare", "tcpdump")]


def test_hosts_have_names_and_reach_each_other_until_cut(tmp_path: Path) -> None:
    with hosts.lab(3, trunk=True) as lab:
        first, second, third = lab.hosts
        assert [host.run("hostname").strip() for host in lab.hosts] == ["kn1", "kn2", "kn3"]
        trace = tmp_path / "trace.pcap"
        with lab.capture(second, trace, "icmp"):
            first.run("ping", "-c1", "-W5", second.address)
        assert "echo reply" in subprocess.run(["tcpdump", "-nr", trace], capture_output=True, text=True).stdout
        third.cut()
        with pytest.raises(subprocess.CalledProcessError):
            first.run("ping", "-c1", "-W1", third.address)
        third.mend()
        first.run("ping", "-c3", "-W5", third.address)
        assert third.run("ip", "route", "get", "224.0.0.1").split()[3] == "mgmt"
        namespaces = {host.namespace for host in lab.hosts} | {lab.outside}
    assert not namespaces & set(subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split())


def test_a_power_failure_leaves_no_process_and_no_interface() -> None:
    with hosts.lab(2) as lab:
        host = lab.hosts[0]
        with host.start("sleep", "1000") as sleeper:
            host.run("ip", "link", "add", "left", "type", "veth", "peer", "name", "right")
            assert host.pids("1000") == [sleeper.pid]
            host.power_off()
            assert sleeper.wait(10) == -signal.SIGKILL
        assert host.links() == {"mgmt"}


def test_daemons_are_named_after_their_hosts() -> None:
    with cluster(2) as knights:
        knights.start()
        assert [daemon.answers("version")[0]["Host"] for daemon in knights.daemons] == knights.names
        knights.kill9(0)
        knights.start(0)
        knights.stop(1)
        knights.cont(1)
        knights.power_off(1)
        assert knights.hosts[1].pids() == []
        base = knights.daemons[0].base
    assert not base.exists()
