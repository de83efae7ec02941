"""Many VMs at once: sixty that boot, three hundred that are held, and nothing left of them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.lab import Lab
from tests.support.requires import requires
from tests.support.traces import switch_ports

pytestmark = [
    pytest.mark.full,
    pytest.mark.root,
    requires("qemu-system-x86_64", "ovs-vswitchd", "dnsmasq"),
]

BOOTED = 60
HELD = 300
LEASES_S = 1500.0


def check_nothing_left(daemon: Daemon, lab: Lab) -> None:
    assert daemon.quit(timeout_s=300) == 0
    assert daemon.qemus() == []
    assert lab.links() == set()
    assert not daemon.base.exists()


def serial_texts(daemon: Daemon) -> dict[str, bytes]:
    """What each VM has written to its first serial port, read as it comes."""
    import socket

    texts: dict[str, bytes] = {}
    for row in daemon.rows("vm info"):
        with socket.socket(socket.AF_UNIX) as console:
            console.settimeout(2)
            console.connect(str(daemon.base / row["id"] / "serial0"))
            console.sendall(b"\n")
            texts[row["name"]] = console.recv(65536)
    return texts


@pytest.mark.timeout(1800)
def test_sixty_vms_reach_login_with_a_lease(lab_daemon: tuple[Daemon, Lab], image: tuple[Path, Path]) -> None:
    daemon, lab = lab_daemon
    kernel, initrd = image
    daemon.start()
    for line in (
        "tap create lan ip 10.8.0.1/24",
        "dnsmasq start 10.8.0.1 10.8.0.2 10.8.0.254",
        f"vm config kernel {kernel}",
        f"vm config initrd {initrd}",
        "vm config memory 256",
        "vm config networks lan",
        "vm config serial-ports 1",
        f"vm launch kvm {BOOTED}",
        "vm start all",
    ):
        daemon.ask(line)
    rows = daemon.wait_for_addresses(BOOTED, timeout_s=LEASES_S)
    assert {row["state"] for row in rows} == {"RUNNING"}
    assert len({row["ip"] for row in rows}) == BOOTED
    assert len({row["mac"] for row in rows}) == BOOTED
    deadline = time.monotonic() + 300
    waiting = {row["name"] for row in rows}
    while waiting:  # the agent starts last, after the login shell
        waiting = {row["name"] for row in daemon.rows("vm info") if row["cc_active"] != "true"}
        assert time.monotonic() < deadline, waiting
        time.sleep(0.5)
    for name, text in serial_texts(daemon).items():
        assert text, f"{name} does not answer on its console"
    check_nothing_left(daemon, lab)


@pytest.mark.timeout(900)
def test_three_hundred_held_vms(lab_daemon: tuple[Daemon, Lab]) -> None:
    daemon, lab = lab_daemon
    daemon.start()
    for line in ("vm config vga none", "vm config memory 16", "vm config networks lan", f"vm launch kvm {HELD}"):
        daemon.ask(line)
    rows = daemon.rows("vm info")
    assert len(rows) == len(daemon.qemus()) == HELD
    assert {row["state"] for row in rows} == {"BUILDING"}
    for column in ("id", "name", "uuid", "tap", "mac", "pid"):
        assert len({row[column] for row in rows}) == HELD
    every = {row["tap"].strip("[]") for row in rows}
    assert every <= lab.links()
    assert every <= switch_ports(daemon, lab)
    daemon.ask("vm kill vm-[0-99]")
    assert sorted(row["state"] for row in daemon.rows("vm info")) == ["BUILDING"] * 200 + ["QUIT"] * 100
    daemon.ask("vm flush")
    assert len(daemon.rows("vm info")) == 200
    daemon.ask("vm kill all")
    assert daemon.qemus() == []
    daemon.ask("vm flush")
    assert daemon.rows("vm info") == []
    assert not any(path.name.isdigit() for path in daemon.base.iterdir())
    assert every.isdisjoint(lab.links())
    assert every.isdisjoint(switch_ports(daemon, lab))
    check_nothing_left(daemon, lab)
