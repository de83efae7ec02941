"""Nothing is lost: the daemon is killed without warning, and the next one finds every VM where it was."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from megatools.minimega.app.client import DaemonError
from tests.support.daemon import CommandRefused, Daemon
from tests.support.lab import Lab
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "dnsmasq")]

KEPT = ("id", "name", "state", "uuid", "tap", "mac", "vlan", "bridge", "memory", "tags", "pid")


def network(daemon: Daemon, image: tuple[Path, Path]) -> None:
    kernel, initrd = image
    for line in (
        "tap create lan ip 10.9.0.1/24",
        "dnsmasq start 10.9.0.1 10.9.0.2 10.9.0.254",
        f"vm config kernel {kernel}",
        f"vm config initrd {initrd}",
        "vm config memory 128",
        "vm config networks lan",
    ):
        daemon.ask(line)


def kept(daemon: Daemon, namespace: str = "minimega") -> dict[str, tuple[str, ...]]:
    rows = daemon.rows(f"namespace {namespace} vm info")
    return {row["name"]: tuple(row[column] for column in KEPT) for row in rows}


def prove_consoles(daemon: Daemon, lab: Lab, names: list[str]) -> None:
    url = daemon.ask(".annotate false vnc serve").strip()
    vms = [f"{row['name']}={row['id']}" for row in daemon.rows("vm info") if row["name"] in names]
    said = lab.run(sys.executable, "-m", "tests.support.console", url, str(daemon.base), *vms, timeout_s=600)
    assert len(said.splitlines()) == len(names)


def test_everything_is_adopted_after_a_crash(lab_daemon: tuple[Daemon, Lab], image: tuple[Path, Path]) -> None:
    daemon, lab = lab_daemon
    daemon.start()
    network(daemon, image)
    for line in (
        "vm launch kvm a,b",
        "vm start a,b",
        "vm tag a role router",
        "vm config save mine",
        "namespace other vm config vga none",
        "namespace other vm config networks lan",
        "namespace other vm launch kvm c",
    ):
        daemon.ask(line)
    daemon.wait_for_addresses(2, timeout_s=120)
    before, other, taps = kept(daemon), kept(daemon, "other"), daemon.rows("tap")
    vlans, servers, config = daemon.rows("vlans"), daemon.rows("dnsmasq"), daemon.ask("vm config")

    daemon.kill9()
    daemon.start()

    assert kept(daemon) == before
    assert kept(daemon, "other") == other
    assert daemon.rows("tap") == taps
    assert daemon.rows("vlans") == vlans
    assert daemon.rows("dnsmasq") == servers
    assert daemon.ask("vm config") == config
    assert daemon.ask(".annotate false vm config restore").split() == ["mine"]
    assert {row["namespace"] for row in daemon.rows("namespace")} == {"minimega", "other"}
    prove_consoles(daemon, lab, ["a", "b"])
    daemon.wait_for_addresses(2, timeout_s=120)

    assert daemon.quit() == 0
    assert daemon.qemus() == []
    assert lab.links() == set()
    assert {path.name for path in daemon.base.iterdir()} == {"journal.db"}  # the saved configuration stays


def test_sigterm_leaves_vms_running(lab_daemon: tuple[Daemon, Lab]) -> None:
    import signal

    daemon, _ = lab_daemon
    daemon.start()
    daemon.ask("vm config vga none")
    daemon.ask("vm config memory 64")
    daemon.ask("vm launch kvm 2")
    pids = sorted(daemon.qemus())
    assert daemon.signal(signal.SIGTERM) == 0
    assert sorted(daemon.qemus()) == pids
    daemon.start()
    assert sorted(int(row["pid"]) for row in daemon.rows("vm info")) == pids
    assert daemon.signal(signal.SIGINT) == 0
    assert daemon.qemus() == []


def test_what_died_in_between_is_cleaned_up(lab_daemon: tuple[Daemon, Lab]) -> None:
    import os
    import signal

    daemon, lab = lab_daemon
    daemon.start()
    for line in ("vm config vga none", "vm config memory 64", "vm config networks 7", "vm launch kvm a,b"):
        daemon.ask(line)
    victim = int(daemon.vm("a")["pid"])
    daemon.kill9()
    os.kill(victim, signal.SIGKILL)
    daemon.start()
    assert {row["name"]: row["state"] for row in daemon.rows("vm info")} == {"a": "QUIT", "b": "BUILDING"}
    daemon.ask("vm start a")
    assert daemon.vm("a")["state"] == "RUNNING"
    assert daemon.quit() == 0
    assert lab.links() == set()


@pytest.mark.full
@pytest.mark.timeout(1500)
def test_five_kills_at_random_moments_with_twenty_vms(lab_daemon: tuple[Daemon, Lab], image: tuple[Path, Path]) -> None:
    daemon, lab = lab_daemon
    chance = random.Random(2026)
    daemon.start()
    network(daemon, image)
    names = [f"vm{number}" for number in range(20)]
    daemon.ask("vm launch kvm vm[0-19]")
    daemon.ask("vm start all")
    daemon.wait_for_addresses(20, timeout_s=600)
    for turn in range(5):
        acknowledged: list[str] = []
        launching = threading.Thread(target=_launch_until_killed, args=(daemon, turn, acknowledged))
        launching.start()
        time.sleep(chance.uniform(0.0, 1.5))  # the random moment is what is tested
        daemon.kill9()
        launching.join()
        daemon.start()
        rows = {row["name"]: row for row in daemon.rows("vm info")}
        assert set(names) | set(acknowledged) <= set(rows)
        assert all(rows[name]["state"] == "RUNNING" for name in names)
        assert all(rows[name]["state"] == "BUILDING" for name in acknowledged)
        assert len(daemon.qemus()) == sum(row["state"] in ("RUNNING", "BUILDING") for row in rows.values())
        extra = [name for name in rows if name not in names]
        if extra:
            daemon.ask(f"vm kill {','.join(extra)}")
            daemon.ask("vm flush")
        prove_consoles(daemon, lab, names)
    assert daemon.quit() == 0
    assert daemon.qemus() == []
    assert lab.links() == set()


def _launch_until_killed(daemon: Daemon, turn: int, acknowledged: list[str]) -> None:
    with contextlib.suppress(DaemonError, CommandRefused):
        for number in range(100):
            name = f"extra-{turn}-{number}"
            daemon.ask(f"vm launch kvm {name}")
            acknowledged.append(name)
