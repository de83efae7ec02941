"""The document's walk-through, word for word: as a script, read from a file, and pasted into the prompt."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.lab import Lab
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "dnsmasq")]

LEASES_S = 240.0


def lines(image: tuple[Path, Path]) -> list[str]:
    """The command lines of the document, with real paths."""
    kernel, initrd = image
    return [
        "host_tap 1 10.0.0.1/24",
        "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254",
        "vm_net 1",
        f"vm_initrd {initrd}",
        f"vm_kernel {kernel}",
        "vm_memory 1500",
        "vm_launch 2",
        "vm_memory 512",
        "vm_launch 2",
        "vm_start",
        "vnc serve",
    ]


@pytest.fixture
def script(image: tuple[Path, Path], tmp_path: Path) -> Path:
    """The document's lines as a file."""
    path = tmp_path / "document.mm"
    path.write_text("\n".join(lines(image)) + "\n")
    return path


def check_four_with_leases(daemon: Daemon, lab: Lab) -> None:
    rows = daemon.wait_for_addresses(4, timeout_s=LEASES_S)
    assert [row["state"] for row in rows] == ["RUNNING"] * 4
    assert [row["memory"] for row in rows] == ["1500", "1500", "512", "512"]
    addresses = {row["ip"].strip("[]") for row in rows}
    assert len(addresses) == 4
    for address in addresses:
        assert "1 received" in lab.run("ping", "-c", "1", "-w", "30", address)
    page = lab.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://localhost:8080/")
    assert page == "401"


def check_nothing_left(daemon: Daemon, lab: Lab) -> None:
    assert daemon.quit() == 0
    assert daemon.qemus() == []
    assert lab.links() == set()
    assert not daemon.base.exists()


def test_a_script_file_on_the_command_line(lab_daemon: tuple[Daemon, Lab], script: Path) -> None:
    daemon, lab = lab_daemon
    daemon.start(script)
    check_four_with_leases(daemon, lab)
    check_nothing_left(daemon, lab)


@pytest.mark.full
def test_read_from_a_file(lab_daemon: tuple[Daemon, Lab], script: Path) -> None:
    daemon, lab = lab_daemon
    daemon.start()
    daemon.ask(f"read {script}")
    check_four_with_leases(daemon, lab)
    check_nothing_left(daemon, lab)


@contextlib.contextmanager
def terminal(*argv: str) -> Generator[str]:
    """A tmux server of our own that runs a program in a terminal; yields its socket name."""
    name = f"mt-{secrets.token_hex(4)}"
    tmux = ["tmux", "-L", name]
    subprocess.run(
        [*tmux, "-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50", *argv], check=True, timeout=30
    )
    try:
        yield name
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, timeout=30, capture_output=True)


def screen(name: str) -> str:
    """What the terminal shows."""
    done = subprocess.run(["tmux", "-L", name, "capture-pane", "-p"], capture_output=True, check=True, timeout=30)
    return done.stdout.decode()


def wait_for(name: str, text: str, *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while text not in screen(name):
        assert time.monotonic() < deadline, f"no {text!r} on the screen:\n{screen(name)}"
        time.sleep(0.1)


@pytest.mark.full
@requires("tmux")
def test_pasted_into_the_prompt(lab_daemon: tuple[Daemon, Lab], image: tuple[Path, Path], tmp_path: Path) -> None:
    daemon, lab = lab_daemon
    program = [*lab.prefix, str(Path("bin/minimega").absolute()), "-base", str(daemon.base)]
    text = tmp_path / "paste"
    text.write_text("\n".join(lines(image)) + "\n")
    with terminal(*program) as name:
        wait_for(name, "minimega[minimega]$", timeout_s=60)
        subprocess.run(["tmux", "-L", name, "load-buffer", str(text)], check=True, timeout=30)
        subprocess.run(["tmux", "-L", name, "paste-buffer", "-p"], check=True, timeout=30)
        check_four_with_leases(daemon, lab)
        subprocess.run(["tmux", "-L", name, "send-keys", "Enter", "C-d"], check=True, timeout=30)
        deadline = time.monotonic() + 60
        while daemon.base.exists():
            assert time.monotonic() < deadline, screen(name)
            time.sleep(0.1)
    assert daemon.qemus() == []
    assert lab.links() == set()
