"""Bad input against the real daemon: one clear error each, nothing half made, no traceback anywhere."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from megatools.minimega.lang.protocol import MAX_REQUEST_BYTES
from tests.support.daemon import Daemon, daemon_at
from tests.support.lab import Lab, daemon_in_lab, lab
from tests.support.requires import requires
from tests.support.traces import switch_ports, traces

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "dnsmasq")]


@pytest.fixture(scope="module")
def stage() -> Iterator[tuple[Daemon, Lab]]:
    """One daemon for all lines of this file, with a network, a server and a VM that no refusal may touch."""
    with daemon_in_lab() as (daemon, where):
        daemon.start()
        for line in (
            "tap create 1 ip 10.0.0.1/24 keep",
            "dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254",
            "vm config vga none",
            "vm config memory 32",
            "vm config networks 1",
            "vm launch kvm kept",
            "vm config save good",
        ):
            daemon.ask(line)
        yield daemon, where


@pytest.fixture
def untouched(stage: tuple[Daemon, Lab]) -> Iterator[tuple[Daemon, Lab]]:
    """The daemon; whatever the test asked of it, the machine is as before and the log holds no traceback."""
    before = traces(*stage)
    yield stage
    stage[0].ask("vm config restore good")
    assert traces(*stage) == before
    assert "Traceback" not in stage[0].log_text()


def check_one_clear_error(daemon: Daemon, line: str, what: str, fix: str | None) -> None:
    """One response: an error that says what is wrong and, unless `fix` is None, how to go on; nothing of Python."""
    responses = daemon.answers(line)
    assert len(responses) == 1, responses
    error = str(responses[0]["Error"])
    message, _, hint = error.partition("\nhint: ")
    assert what in message, error
    if fix is not None:
        assert hint, error
        assert fix in hint, error
    for word in ("Traceback", "internal error", "Error:", "errno", "Errno", "object at"):
        assert word not in error, error


REFUSED = [
    # unknown commands and wrong arity
    ("frobnicate", "invalid command: `frobnicate`", "help"),
    ("vm lanch kvm 1", "invalid command: `vm lanch kvm 1`", "vm launch"),
    ("vm launch kvm", "invalid command: `vm launch kvm`", "vm launch kvm <name or count>"),
    ("vm start", "invalid command", "vm start <"),
    ("vm info summary now", "invalid command", "vm info"),
    ("tap create", "invalid command", "tap create <vlan>"),
    ("dnsmasq start 10.0.0.1 10.0.0.2", "invalid command", "dnsmasq start"),
    ("vm_launch", "vm_launch", "vm_launch"),
    ("vm_kill", "vm_kill", "vm_kill"),
    ('echo "open', "missing terminal", ""),
    ("echo a\\x", "unexpected escaped character: x", ""),
    (".filter nothing vm info", "invalid filter", "="),
    (".columns nothing vm info", "no such column `nothing`", "name"),
    # networks of VMs
    ("vm config networks 4096", "vlan 4096 is out of range", "4095"),
    ("vm config networks -1", "vlan -1 is out of range", "4095"),
    ("vm config networks 1,00:11:22:33:44", "00:11:22:33:44", "mac"),
    ("vm config networks 1,00:11:22:33:44:5g", "00:11:22:33:44:5g", "mac"),
    ("vm config networks 1,01:11:22:33:44:55", "Not a valid mac address: 01:11:22:33:44:55", "odd"),
    ("vm config networks a,b,nodriver", "nodriver", "driver"),
    ("vm config networks ,", "malformed netspec", "vlan"),
    ("vm_net 5000", "5000", "4095"),
    # sizes and other numbers
    ("vm config memory 0", "0", "from 1 to"),
    ("vm config memory lots", "lots", "whole number"),
    ("vm config memory 99999999999", "99999999999", "to 16777216"),
    ("vm config vcpus -2", "-2", "from 1 to 255"),
    ("vm config serial-ports 100", "100", "to 8"),
    ("vm config virtio-ports 1000", "1000", ""),
    ("vm_memory x", "x", "whole number"),
    ("vm_snapshot perhaps", "usage: vm_snapshot [true,false]", None),
    ("log_level loud", "malformed command", "debug, info"),
    ("log_stderr perhaps", "malformed command", "log_stderr [true or false]"),
    ("vm config snapshot perhaps", "perhaps", "true or false"),
    ("vm config vga monochrome", "monochrome", "std"),
    ("vm config cpu z80", "z80", "-cpu help"),
    ("vm config machine abacus", "abacus", "-machine help"),
    ("vm config uuid 7", "invalid UUID", "-"),
    ("vm config disks x.qcow2,ide,turbo", "malformed diskspec", ""),
    ("vm config restore nosuch", "config nosuch does not exist", "restore"),
    ("vm config clone nosuch", "vm not found: nosuch", "vm info"),
    # names and targets
    ("vm launch kvm 0", "must be > 0", ""),
    ("vm launch kvm -3", "must be > 0", ""),
    ("vm launch kvm all", "reserved", ""),
    ("vm launch kvm a/b", "invalid name", ""),
    ("vm launch kvm x,x", "`x` is specified twice", ""),
    ("vm launch kvm kept", "vm already exists with name `kept`", "name"),
    ("vm launch kvm x nosuch", "config nosuch does not exist", ""),
    ("vm launch kvm x[3-1]", "invalid subrange 3-1", ""),
    ("vm launch kvm x[1-", "unterminated '['", "["),
    ("vm launch kvm x[0-99999999]", "99999999", ""),
    ("vm start nosuch", "vm not found: nosuch", "vm info"),
    ("vm stop kept", "kept", "BUILDING"),
    ("vm kill nosuch[1-2]", "vm not found: nosuch1", "vm info"),
    ("vm tag nosuch a b", "vm not found: nosuch", "vm info"),
    ("vm flush kept", "kept", "BUILDING"),
    ("vm_start 99", "99", "vm info"),
    ("namespace a/b", "invalid name", ""),
    ("namespace all", "reserved", ""),
    ("clear namespace nosuch", "unknown namespace: `nosuch`", "minimega"),
    # host taps, VLANs, bridges, DHCP
    ("tap create 9999", "invalid VLAN", "9999"),
    ("tap create 1 ip 10.0.0.300/24", "10.0.0.300/24", "10.0.0.1/24"),
    ("tap create 1 ip 10.0.0.1", "10.0.0.1", "/24"),
    ("tap create 1 ip 10.0.0.9/24", '10.0.0.0/24 is taken by "keep"', "subnet"),
    ("tap create 1 name a_name_too_long_for_linux", "15", ""),
    ("tap create 1 name keep", "tap already on bridge", "keep"),
    ("tap create 1 name mega_tap77", "reserved", ""),
    ("tap create 1 bridge keep", "keep", ""),
    ("tap delete nosuch", "unknown tap", "nosuch"),
    ("host_tap 1 10.0.0.1", "10.0.0.1", "/24"),
    ("host_tap create 1 nonsense", "nonsense", ""),
    ("host_tap delete nosuch", "unknown tap", "nosuch"),
    ("vlans add lan 5000", "invalid VLAN", "5000"),
    ("vlans add lan x", "expected integer VLAN", "x"),
    ("vlans range 300 200", "expected min > max", ""),
    ("vlans blacklist 5000", "invalid VLAN", "5000"),
    ("bridge destroy nosuch", "nosuch", ""),
    ("bridge destroy mega_bridge", "in use", ""),
    ("bridge config mega_bridge nonsense", "expected key=value", "nonsense"),
    ("dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254", "in use", "another"),
    ("dnsmasq start 10.99.0.1 10.99.0.2 10.99.0.254", "10.99.0.1", "tap create"),
    ("dnsmasq start 10.0.0.1 10.0.0.254 10.0.0.2", "above", ""),
    ("dnsmasq start a b c", "invalid IP address", ""),
    ("dnsmasq start /no/such/file", "/no/such/file", ""),
    ("dnsmasq kill 99", "invalid id", "99"),
    # pages
    ("vnc serve 99999", "99999", ""),
    ("vnc serve nonsense", "nonsense", "0.0.0.0:8080"),
    ("web novnc /no/such", "/no/such", "core/rfb.js"),
    # files
    ("read /no/such/script", "/no/such/script", ""),
    ("write /no/such/directory/file", "/no/such/directory", ""),
    ("log file /no/such/directory/file", "/no/such/directory/file", ""),
    # words of later versions
    ("cc exec true", 'not available yet: "cc"', None),
    ("ksm enable", 'not available yet: "ksm"', None),
]


@pytest.mark.parametrize(("line", "what", "fix"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_a_bad_line_is_refused_with_one_clear_error(
    untouched: tuple[Daemon, Lab], line: str, what: str, fix: str
) -> None:
    check_one_clear_error(untouched[0], line, what, fix)


LAUNCHES = [
    ("vm config kernel /no/such/kernel", "no such kernel", "/no/such/kernel"),
    ("vm config kernel relative.kernel", "no such kernel", "relative.kernel"),
    ("vm config initrd /no/such/initrd", "no such initrd", "/no/such/initrd"),
    ("vm config cdrom /no/such/image", "no such cdrom image", "/no/such/image"),
    ("vm config disks /no/such/disk", "no such image", "/no/such/disk"),
    ("vm config disks /etc/passwd,ide /no/such/disk", "no such image", "/no/such/disk"),
    ("vm config qemu /no/such/qemu", "not on this host", "/no/such/qemu"),
    ("vm config qemu /bin/false", "QEMU", ""),
    ("vm config qemu-append -nonsense", "QEMU refused to start", "-nonsense"),
    ("vm config qemu-append -device nonsense", "QEMU refused to start", "nonsense"),
    ("vm config qemu-override -m -nonsense", "QEMU refused to start", "nonsense"),
    ("vm config networks 1 keep,2", "keep", ""),
    ("vm config networks 1 a_name_too_long_for_linux,2", "a_name_too_long_for_linux", "15"),
]


@pytest.mark.parametrize(("line", "what", "value"), LAUNCHES, ids=[line for line, _, _ in LAUNCHES])
def test_a_launch_that_cannot_be_leaves_nothing(
    untouched: tuple[Daemon, Lab], line: str, what: str, value: str
) -> None:
    daemon, _ = untouched
    daemon.ask(line)
    for names in ("a", "b[1-3]"):
        error = daemon.refused(f"vm launch kvm {names}")
        assert what in error
        assert value in error
        assert "\nhint: " in error
        assert "Traceback" not in error
    message = daemon.refused("vm launch kvm b[1-3]").partition("\nhint: ")[0]
    assert [text.partition(":")[0] for text in message.splitlines()] == ["b1", "b2", "b3"]


def test_many_errors_name_their_vms(untouched: tuple[Daemon, Lab]) -> None:
    daemon, _ = untouched
    daemon.ask("vm launch kvm r1,r2")
    try:
        daemon.ask("vm start r1,r2")
        message = daemon.refused("vm start r[1-3]").partition("\nhint: ")[0]
        assert message.splitlines() == [
            "r1: vm is already running",
            "r2: vm is already running",
            "vm not found: r3",
        ]
    finally:
        daemon.ask("vm kill r1,r2")
        daemon.ask("vm flush r1,r2")


def test_a_port_in_use(untouched: tuple[Daemon, Lab]) -> None:
    daemon, where = untouched
    listener = "import socket,sys\ns=socket.socket()\ns.bind(('127.0.0.1',8080))\ns.listen()\nprint()\nsys.stdin.read()"
    with subprocess.Popen(
        [*where.prefix, sys.executable, "-uc", listener], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        check_one_clear_error(daemon, "vnc serve", "8080", ":8081")
        check_one_clear_error(daemon, "web 8080", "8080", ":8081")
        other.communicate(timeout=10)
    assert "token=" in daemon.ask("vnc serve")
    check_one_clear_error(daemon, "vnc serve 8081", "already running", "http://localhost:8080")


def test_clear_web_gives_our_novnc_back(untouched: tuple[Daemon, Lab], tmp_path: Path) -> None:
    daemon, _ = untouched
    ours = daemon.ask("web novnc")
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "rfb.js").write_text("")
    daemon.ask(f"web novnc {tmp_path}")
    assert str(tmp_path) in daemon.ask("web novnc")
    daemon.ask("clear web")
    assert daemon.ask("web novnc") == ours


@contextlib.contextmanager
def raw(daemon: Daemon) -> Iterator[socket.socket]:
    """A connection without a client behind it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(daemon.socket))
        yield client


def first_error(client: socket.socket) -> str:
    with client.makefile("rb") as stream:
        return str(json.loads(stream.readline())["Resp"][0]["Error"])


GARBAGE = [b"\x00\xff\xfe\n", b"GET / HTTP/1.0\r\n\r\n", b"[]\n", b'{"Command": 7}\n', b"{}\n"]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_on_the_socket(untouched: tuple[Daemon, Lab], garbage: bytes) -> None:
    with raw(untouched[0]) as client:
        client.sendall(garbage)
        assert first_error(client)


def test_an_oversized_line_on_the_socket(untouched: tuple[Daemon, Lab]) -> None:
    daemon, _ = untouched
    with raw(daemon) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read all of it
            client.sendall(b'{"Command": "echo ' + b"x" * MAX_REQUEST_BYTES + b'"}\n')
        assert str(MAX_REQUEST_BYTES) in first_error(client)
    assert "still here" in daemon.ask("echo still here")


def test_a_client_that_leaves_in_the_middle_of_a_command(untouched: tuple[Daemon, Lab]) -> None:
    daemon, _ = untouched
    with raw(daemon) as client:
        client.sendall(b'{"Command": "vm launch kvm gone[1-4]"}\n')
    wanted = {f"gone{number}" for number in range(1, 5)}
    deadline = time.monotonic() + 60
    while not wanted <= {row["name"] for row in daemon.rows("vm info")}:  # it runs to its end all the same
        assert time.monotonic() < deadline, daemon.rows("vm info")
        time.sleep(0.05)
    with raw(daemon) as client:
        client.sendall(b'{"Comm')
    daemon.ask("vm kill gone[1-4]")
    daemon.ask("vm flush gone[1-4]")


@pytest.mark.parametrize("flags", [(), ("-force",), ("-recover",)])
def test_two_daemons_on_one_base_directory(untouched: tuple[Daemon, Lab], flags: tuple[str, ...]) -> None:
    daemon, where = untouched
    program = [*where.prefix, sys.executable, "-m", "megatools.minimega.app.main", "-nostdin"]
    second = subprocess.run([*program, "-base", str(daemon.base), *flags], capture_output=True, timeout=60)
    said = second.stderr.decode()
    assert second.returncode != 0
    assert "already be running" in said
    assert "-base" in said
    assert "Traceback" not in said
    assert daemon.vm("kept")["state"] == "BUILDING"


def test_no_daemon_to_ask(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "megatools.minimega.app.main", "-base", str(tmp_path), "-e", "version"]
    done = subprocess.run(program, capture_output=True, timeout=60)
    assert done.returncode != 0
    assert done.stdout == b""
    said = done.stderr.decode()
    assert str(tmp_path) in said
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 2


def pids_of_switch(daemon: Daemon) -> dict[str, int]:
    """The processes of the daemon's private Open vSwitch, by program; what the pid file says is checked."""
    found: dict[str, int] = {}
    for program in ("ovs-vswitchd", "ovsdb-server"):
        pid = int((daemon.base / "ovs" / f"{program}.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert str(daemon.base) in words
        found[program] = pid
    return found


@pytest.mark.parametrize("dead", [("ovs-vswitchd",), ("ovsdb-server",), ("ovs-vswitchd", "ovsdb-server")])
def test_a_switch_of_ours_that_died_is_started_again(lab_daemon: tuple[Daemon, Lab], dead: tuple[str, ...]) -> None:
    daemon, where = lab_daemon
    daemon.start()
    for line in ("tap create 1 ip 10.0.0.1/24", "vm config vga none", "vm config networks 1", "vm launch kvm a"):
        daemon.ask(line)
    pids = pids_of_switch(daemon)
    for program in dead:
        os.kill(pids[program], signal.SIGKILL)
    while any(Path(f"/proc/{pids[program]}").exists() for program in dead):
        time.sleep(0.01)
    daemon.ask("vm launch kvm b")
    assert {row["name"]: row["state"] for row in daemon.rows("vm info")} == {"a": "BUILDING", "b": "BUILDING"}
    every = {row["tap"].strip("[]") for row in daemon.rows("vm info")}
    assert every <= where.links()
    assert every <= switch_ports(daemon, where)
    assert "10.0.0.1/24" in where.run("ip", "address", "show", daemon.rows("tap")[0]["tap"])
    assert "Traceback" not in daemon.log_text()
    assert daemon.quit() == 0
    assert where.links() == set()


def test_a_switch_of_others_that_died(tmp_path: Path) -> None:
    with lab() as where, daemon_at(prefix=where.prefix, flags=("-ovs-run-dir", str(tmp_path / "ovs"))) as daemon:
        daemon.start()
        daemon.ask("vm config networks 1")
        before = traces(daemon, where)
        for line in ("vm launch kvm a", "tap create 1"):
            check_one_clear_error(daemon, line, f'Open vSwitch does not answer in "{tmp_path}/ovs"', "ovs_run_dir")
        assert traces(daemon, where) == before
        daemon.ask("clear vm config")
        daemon.ask("vm launch kvm a")  # without networks no switch is needed
