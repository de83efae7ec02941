"""Several hosts in a mesh, each a network namespace with a daemon: the document's flows as written, and bad days."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.enrolling import enrol
from tests.support.requires import requires
from tests.support.terminal import started

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64")]

FLAGS = ("-degree", "2")
WARNING = "anyone on this network can command this host"
OPEN_FLAG = "-mesh-open"


@pytest.fixture(scope="module", params=["open", "certificates"])
def knights(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three daemons of a mesh that know each other: open to all, or each with a certificate."""
    with cluster(3, flags=[*FLAGS, OPEN_FLAG] if request.param == "open" else FLAGS) as found:
        found.start()
        if request.param == "open":
            found.wait_for_members()
        else:
            enrol(found)
        yield found


def is_open(knights: Cluster) -> bool:
    """Whether their mesh is the open one."""
    return OPEN_FLAG in knights.daemons[0].flags


def test_the_flow_of_the_document(knights: Cluster) -> None:
    daemon = knights.daemons[0]
    assert daemon.ask("mesh_status").splitlines() == ["mesh size 3", "degree 2", "clients connected to this node: 2"]
    assert daemon.ask("mesh_list").splitlines().count(" |--kn1") == 2
    assert daemon.ask("mesh_broadcast vm_memory 32") == ""
    assert daemon.ask("mesh_broadcast vm_launch 5") == ""
    listed = daemon.ask("mesh_set kn[1-2] vm_info [host,name,state,memory]").splitlines()
    assert listed[0].split() == "host | name | state | memory".split()
    assert [line.split()[0] for line in listed[1:]] == ["kn2"] * 5  # broadcast reaches all others
    assert {line.split()[4] for line in listed[1:]} == {"building"}
    assert daemon.ask("mesh_set annotate kn[2-3] vm_start") == ""
    states = daemon.ask("mesh send all .columns state vm info").splitlines()
    assert states[0].split() == ["host", "|", "state"]
    assert sorted(line.split()[0] for line in states[1:]) == ["kn2"] * 5 + ["kn3"] * 5
    assert {line.split()[2] for line in states[1:]} == {"RUNNING"}
    assert daemon.ask("mesh_broadcast vm_kill -1") == ""
    assert daemon.ask("mesh_broadcast vm_flush") == ""
    assert daemon.ask("mesh send kn[2-3] vm info") == ""


def test_the_status_says_who_may_command(knights: Cluster) -> None:
    (row,) = knights.daemons[1].rows("mesh status")
    assert (row["size"], row["degree"], row["peers"]) == ("3", "2", "2")
    assert row["security"] == ("open" if is_open(knights) else "tls")
    assert row["remarks"].count(WARNING) == is_open(knights)
    assert ("the mesh is open: " + WARNING in knights.daemons[1].log_text()) == is_open(knights)


@requires("tmux")
def test_the_prompt_says_when_the_mesh_is_open(knights: Cluster, tmp_path: Path) -> None:
    program = (sys.executable, "-m", "megatools.minimega.app.main")
    for terminal in started(tmp_path, *program, "-base", str(knights.daemons[0].base), "-attach"):
        shown = terminal.until("minimega (open mesh)$" if is_open(knights) else "minimega$")
        assert (WARNING in shown.replace("\n", "")) == is_open(knights)


def test_the_answers_of_others_are_there_before_a_hung_host_is_named(knights: Cluster) -> None:
    daemon, hung = knights.daemons[0], knights.daemons[1]
    assert hung.process is not None
    daemon.ask("mesh timeout 2")
    hung.process.send_signal(signal.SIGSTOP)  # the daemon only: its engine goes on, so the mesh does not miss it
    try:
        with daemon.connect() as connection:
            replies = [(reply.rendered, reply.errors) for reply in connection.command("mesh send all hostname")]
        shown = [index for index, (rendered, _) in enumerate(replies) if rendered == "kn3: kn3"]
        named = [index for index, (_, errors) in enumerate(replies) if errors]
        assert (len(shown), len(named)) == (1, 1) and shown < named, replies
        assert replies[named[0]][1][0][0] == "kn2"
        assert replies[named[0]][1][0][1].startswith('timed out: no sign of life from "kn2" for 2 s')
    finally:
        hung.process.send_signal(signal.SIGCONT)
        daemon.ask("clear mesh_timeout")
    assert daemon.ask("mesh send kn2 hostname") == "kn2: kn2"


def test_long_commands_are_waited_for_and_hold_up_nothing(knights: Cluster) -> None:
    daemon = knights.daemons[0]
    daemon.ask("mesh timeout 2")
    try:
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(daemon.ask, "mesh send kn[1-3] shell sh -c 'sleep 3; echo slept'")
            assert daemon.ask("mesh send all version").startswith("kn[2-3]: minimega ")
            assert not long.done()
            assert long.result() == "kn[1-3]: slept"
    finally:
        daemon.ask("clear mesh_timeout")


def test_ten_thousand_lines_of_every_host(knights: Cluster) -> None:
    lines = knights.daemons[0].ask(".annotate false mesh send kn[1-3] shell seq 10000").splitlines()
    assert lines == [str(number) for number in range(1, 10_001)]


def test_a_host_killed_while_it_works_is_named_and_comes_back(knights: Cluster, tmp_path: Path) -> None:
    daemon = knights.daemons[0]
    line = f"mesh send kn[2-3] shell sh -c 'touch {tmp_path}/$(hostname); sleep 3; echo slept'"
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(daemon.answers, line)
        wait_for((tmp_path / "kn3").exists)
        knights.kill9(2)
        found = {str(answer["Host"]): (answer["Response"], answer["Error"]) for answer in answers.result()}
    assert found["kn2"] == ("slept", "")
    assert found["kn3"][0] == "" and 'node "kn3" was lost' in str(found["kn3"][1])
    knights.daemons[2].start()
    knights.wait_for_members()
    assert daemon.ask("mesh send all hostname").splitlines() == ["kn2: kn2", "kn3: kn3"]


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def test_commands_of_a_namespace_reach_its_hosts(knights: Cluster, tmp_path: Path) -> None:
    daemon = knights.daemons[0]
    assert daemon.ask("namespace lab ns hosts") == "kn1: kn[2-3]"
    assert daemon.ask("namespace lab vm config memory 32") == ""
    assert daemon.ask("namespace lab vm launch kvm a,b") == ""
    rows = {row["name"]: row for row in daemon.rows("namespace lab vm info")}
    assert sorted(rows) == ["a", "b"]
    hosts = sorted(str(answer["Host"]) for answer in daemon.answers("namespace lab vm info"))
    assert hosts == ["kn2", "kn3"]
    assert daemon.ask("vm info") == ""
    assert daemon.ask("namespace lab vm start a,b,c").endswith(": vm not found: c")
    assert {row["state"] for row in daemon.rows("namespace lab vm info")} == {"RUNNING"}
    assert daemon.ask("namespace lab vm tag a,b color red") == ""
    assert [row["value"] for row in daemon.rows("namespace lab vm tag all color")] == ["red", "red"]
    for name in ("a", "b"):
        picture = tmp_path / f"{name}.png"
        daemon.ask(f"namespace lab vm screenshot {name} file {picture}")
        assert picture.read_bytes().startswith(b"\x89PNG")
    daemon.ask("namespace lab vm config memory 64")
    daemon.ask("namespace lab vm config clone b")
    assert daemon.ask(".annotate false namespace lab vm config memory") == "32"
    assert daemon.ask("namespace lab version").startswith("kn[2-3]: minimega ")
    assert daemon.ask("namespace lab .columns vms host").splitlines() == ["host | vms", "kn2  | 1", "kn3  | 1"]
    assert daemon.ask("mesh send kn2 .columns vms host").splitlines() == ["host | vms", "kn2  | 1"]
    assert daemon.ask("clear namespace lab") == ""
    wait_for(lambda: "lab" not in daemon.ask("mesh send kn[1-3] namespace"))
    assert daemon.ask("mesh send all .columns vms host").splitlines() == ["host | vms", "kn2  | 0", "kn3  | 0"]


def test_nodes_are_held_to_the_limits_of_their_certificates() -> None:
    with cluster(3) as nodes:
        nodes.start()
        enrol(nodes, {"kn2": "read-only", "kn3": "full lab"})
        kn1, kn2, kn3 = nodes.daemons
        kn1.ask("vm config memory 32")
        kn1.ask("vm launch kvm a")
        assert kn2.ask("mesh send kn1 .columns name,state vm info").splitlines()[1].split() == [
            *"kn1 | a | BUILDING".split()
        ]
        for line in ("vm kill a", "vm_kill -1", "vm config memory 64", "shell id", "quit", "clear namespace minimega"):
            assert kn2.refused(f"mesh send kn1 {line}").startswith('node "kn2" may only read'), line
        refused = kn3.refused("mesh send kn1 vm info")
        assert refused.startswith('node "kn3" may not act in namespace "minimega"')
        for line in ("shell id", "quit", "namespace minimega vm info"):
            refused = kn3.refused(f"namespace lab mesh send kn1 {line}")
            assert refused.startswith('node "kn3" may only act within namespace "lab"'), line
        assert kn3.ask("namespace lab mesh send kn1 vm info") == ""
        (kn1.base / "files" / "secret").write_bytes(b"of others")
        assert 'node "kn3" may not see the files of other hosts' in kn3.refused("namespace lab file get secret")
        kn2.ask("file get secret")
        image = kn1.base / "files" / "disk.img"
        image.write_bytes(b"its own" * 1000)
        for line in (
            "ns del-hosts kn2",
            "vm config memory 32",
            "vm config disk file:disk.img",
            "vm config schedule kn3",
        ):
            kn1.ask(f"namespace lab {line}")
        kn1.ask("namespace lab vm launch kvm b")
        assert (kn3.base / "files" / "disk.img").read_bytes() == image.read_bytes()
        (kn3.base / "files" / "disk.img").unlink()
        assert "may not see" in kn3.refused("namespace lab file get disk.img"), "after the launch it is not lent"
        assert kn1.vm("a")["state"] == "BUILDING"
