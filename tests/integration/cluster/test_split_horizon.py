"""Three hosts in a full mesh of tunnels: every frame arrives once, and none goes round."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.net.meshes import Want
from megatools.minimega.net.tunnel_ports import Tunnel
from tests.support import hosts
from tests.support.hosts import Host, Lab
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare", "tcpdump", "ovs-vswitchd", "ovsdb-server")]
BRIDGE = "mega_bridge"
_FILTER = ("ether", "proto", "0x88b5")  # for experiments within one's own network: IEEE 802
_SHOUT = """
import socket
line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
line.bind(("lan", 0))
for number in range(10):
    line.send(bytes([255] * 6) + line.getsockname()[4] + bytes([0x88, 0xb5, number]) + bytes(50))
"""
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class Trio:
    """Three hosts, each with a stack in a directory of its own."""

    def __init__(self, lab: Lab, root: Path, *, run_dirs: bool = False) -> None:
        self.lab = lab
        self.hosts = lab.hosts
        self.root = root
        self.run_dirs = run_dirs

    def base(self, host: Host) -> Path:
        """Where a host keeps its journal, and its switch when it is its own."""
        return self.root / host.name

    def join(self, groups: dict[str, tuple[int, list[Host]]]) -> list[list[Tunnel]]:
        """Join the hosts of each namespace, with its key; returns the tunnels of every host."""
        return [self.join_at(host, groups) for host in self.hosts]

    def join_at(self, host: Host, groups: dict[str, tuple[int, list[Host]]]) -> list[Tunnel]:
        """The same at one host."""
        wants = [
            Want(name, BRIDGE, TunnelKind.VXLAN, key, tuple(each.address for each in members if each is not host))
            for name, (key, members) in groups.items()
            if host in members
        ]
        run_dir = str(self.base(host) / "run") if self.run_dirs else ""
        tap = f"10.7.0.{self.hosts.index(host) + 1}/24"
        argv = [sys.executable, "-m", "tests.integration.cluster.joiner", str(self.base(host)), host.address, tap]
        told = host.run(*argv, run_dir, msgspec.json.encode(wants).decode())
        return msgspec.json.decode(told, type=list[Tunnel])

    def count_broadcasts(self, sender: Host, into: Path) -> list[int]:
        """How often each host's tap sees ten broadcasts of one host, its own tap included."""
        files = [into / f"{host.name}.pcap" for host in self.hosts]
        captures = [
            self.lab.capture(host, file, *_FILTER, interface="lan")
            for host, file in zip(self.hosts, files, strict=True)
        ]
        with captures[0], captures[1], captures[2]:
            sender.run(sys.executable, "-c", _SHOUT)
        texts = [subprocess.run(["tcpdump", "-ner", file], capture_output=True, text=True).stdout for file in files]
        return [text.count("ethertype") for text in texts]


@contextmanager
def trio(**options: bool) -> Iterator[Trio]:
    """Three hosts; everything they made is gone at the end."""
    root = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    try:
        with hosts.lab(3) as lab:
            yield Trio(lab, root, **options)
    finally:
        shutil.rmtree(root)


def reach_each_other(three: Trio, *, timeout_s: float = 30.0) -> None:
    """Every host's tap reaches every other one's."""
    deadline = time.monotonic() + timeout_s
    for host in three.hosts:
        for number in (1, 2, 3):
            while not reaches(host, number):
                assert time.monotonic() < deadline, f"{host.name} does not reach 10.7.0.{number}"


def reaches(host: Host, number: int) -> bool:
    """Whether a host's tap reaches the one of another."""
    argv = [*host.prefix, "ping", "-c1", "-W2", f"10.7.0.{number}"]
    return subprocess.run(argv, capture_output=True, timeout=60).returncode == 0


def test_pairs_with_keys_of_their_own(tmp_path: Path) -> None:
    """A triangle of three separate tunnels: nothing but split horizon keeps frames from going round."""
    with trio() as three:
        one, two, three_ = three.hosts
        tunnels = three.join({"ab": (11, [one, two]), "bc": (12, [two, three_]), "ca": (13, [three_, one])})
        assert [[tunnel.key for tunnel in each] for each in tunnels] == [[11, 13], [11, 12], [12, 13]]
        reach_each_other(three)
        for host in three.hosts:
            assert three.count_broadcasts(host, tmp_path) == [10, 10, 10]


def test_one_device_joins_all_and_hosts_come_and_go(tmp_path: Path) -> None:
    with trio() as three:
        one, two, third = three.hosts
        three.join({"ab": (11, [one, two])})
        assert reaches(one, 2)
        assert not reaches(one, 3)
        before = three.join_at(one, {"ab": (11, [one, two])})
        tunnels = three.join({"ab": (11, [one, two, third])})
        assert [tunnel.name for tunnel in tunnels[0]] == [tunnel.name for tunnel in before]  # changed, not made anew
        reach_each_other(three)
        assert three.count_broadcasts(third, tmp_path) == [10, 10, 10]
        # a second namespace shares the bridge and two of the hosts: they are not joined twice
        both = {"ab": (11, [one, two, third]), "aa": (99, [two, third])}
        ends = [sorted((tunnel.key, len(tunnel.remotes)) for tunnel in each) for each in three.join(both)]
        assert ends == [[(11, 2)], [(11, 1), (99, 1)], [(11, 1), (99, 1)]]
        reach_each_other(three)
        assert three.count_broadcasts(two, tmp_path) == [10, 10, 10]
        three.join({"aa": (99, [two, third])})
        assert reaches(two, 3)
        assert not reaches(one, 3)


def test_an_open_vswitch_without_protected_ports_is_refused(tmp_path: Path) -> None:
    schema = json.loads(SCHEMA.read_text())
    del schema["tables"]["Port"]["columns"]["protected"]
    (tmp_path / "schema").write_text(json.dumps(schema))
    with trio(run_dirs=True) as three:
        one, two, _ = three.hosts
        _start_switch(one, three.base(one) / "run", tmp_path / "schema")
        with pytest.raises(subprocess.CalledProcessError) as failure:
            three.join_at(one, {"ab": (11, [one, two])})
        assert b"too old to join several hosts" in failure.value.stderr
        assert three.join_at(one, {}) == []
        assert "mega_vxlan0" not in one.links()


def _start_switch(host: Host, run: Path, schema: Path) -> None:
    run.mkdir(parents=True)
    words = ["--detach", "--no-chdir", "-vconsole:off", "-vsyslog:off"]
    host.run("ovsdb-tool", "create", str(run / "conf.db"), str(schema))
    server = ["ovsdb-server", str(run / "conf.db"), f"--remote=punix:{run}/db.sock", f"--unixctl={run}/server.ctl"]
    host.run(*server, f"--pidfile={run}/server.pid", *words)
    host.run("ovs-vsctl", f"--db=unix:{run}/db.sock", "--no-wait", "init")
    switch = ["env", f"OVS_RUNDIR={run}", "ovs-vswitchd", f"unix:{run}/db.sock", f"--unixctl={run}/switch.ctl"]
    host.run(*switch, f"--pidfile={run}/switch.pid", *words)
