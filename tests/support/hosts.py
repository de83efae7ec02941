"""A lab of several "hosts" on this machine: network namespaces on one switch, each with a host name of its own.

    with hosts.lab(3, trunk=True) as lab:
        lab.hosts[0].run("ping", "-c1", lab.hosts[1].address)

Each host has the interface `mgmt` on the management switch (a Linux bridge in a namespace of its own, which has the
address `OUTSIDE`), a default and a multicast route over it, and, with `trunk`, the interface `trunk0` on a second
switch that passes frames as they are, VLAN tags included. Everything is removed at the end, processes first.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import netns

OUTSIDE = "10.99.255.254"
_PREFIX_LENGTH = 16
_THRESHOLDS = tuple(Path(f"/proc/sys/net/ipv4/neigh/default/gc_thresh{number}") for number in (1, 2, 3))
_ROOMY_FROM = 32
"""More hosts than this overflow the neighbour table, which all namespaces share."""


@dataclass(frozen=True)
class Host:
    """One "host": a network namespace, and the name its programs see as the host's."""

    name: str
    namespace: str
    address: str
    inode: int

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words in front of a command line; the program keeps the process id of the first of them."""
        naming = f'hostname {self.name}; exec "$@"'
        return ("ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", naming, "sh")

    def run(self, *argv: str, timeout_s: float = 60.0) -> str:
        """Run a program on the host; returns what it prints. Raises CalledProcessError."""
        return _run(*self.prefix, *argv, timeout_s=timeout_s)

    def start(self, *argv: str) -> subprocess.Popen[bytes]:
        """Start a program on the host, its streams piped; it ends with the lab at the latest."""
        return subprocess.Popen(
            [*self.prefix, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def pids(self, mark: str = "") -> list[int]:
        """The processes on the host whose command line holds `mark`."""
        found: list[int] = []
        for identity in netns.inhabitants(self.inode):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{identity.pid}/cmdline").read_bytes().decode(errors="replace")
                if mark in words.split("\0") or not mark:
                    found.append(identity.pid)
        return found

    def signal(self, number: signal.Signals, mark: str = "") -> None:
        """Signal the processes on the host whose command line holds `mark`."""
        for pid in self.pids(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cut(self, interface: str = "mgmt") -> None:
        """Pull the plug of an interface."""
        _run("ip", "-n", self.namespace, "link", "set", interface, "down")

    def mend(self, interface: str = "mgmt") -> None:
        """Plug an interface in again, with the routes that went with it."""
        _run("ip", "-n", self.namespace, "link", "set", interface, "up")
        if interface == "mgmt":
            _batch(self.namespace, _routes())

    def links(self) -> set[str]:
        """The names of the network interfaces, the loopback left out."""
        text = _run("ip", "-n", self.namespace, "-o", "link")
        names = {line.split(": ")[1].partition("@")[0] for line in text.splitlines()}
        return {name for name in names if name != "lo" and not name.startswith("ifb")}

    def power_off(self) -> None:
        """End every process at once and drop every interface that programs made, as a power failure does."""
        end_processes(self)
        for name in self.links() - {"mgmt", "trunk0"}:
            with contextlib.suppress(subprocess.CalledProcessError):  # the other end of a pair went with the first
                _run("ip", "-n", self.namespace, "link", "delete", name)


@dataclass(frozen=True)
class Lab:
    """The hosts; `outside` is the namespace of the switches."""

    hosts: Sequence[Host]
    outside: str

    def outside_prefix(self) -> tuple[str, ...]:
        """The words in front of a command line that runs on the management network, but on none of the hosts."""
        return ("ip", "netns", "exec", self.outside)

    @contextlib.contextmanager
    def capture(self, host: Host, into: Path, *expression: str, interface: str = "mgmt") -> Iterator[None]:
        """Write what passes an interface to a pcap file while the block runs."""
        argv = [
            "tcpdump",
            "-i",
            interface,
            "--immediate-mode",
            "-U",
            "-Z",
            "root",
            "-s",
            "0",
            "-w",
            str(into),
            *expression,
        ]
        with host.start(*argv) as tcpdump:
            try:
                _await_capture(tcpdump)
                yield
                _await_rest(into)
            finally:
                tcpdump.send_signal(signal.SIGINT)
                tcpdump.wait(30)


def end_processes(host: Host, *, timeout_s: float = 30.0) -> None:
    """End every process on a host and wait until they are gone."""
    deadline = time.monotonic() + timeout_s
    while netns.inhabitants(host.inode):
        netns.kill_inhabitants(host.inode)
        assert time.monotonic() < deadline, f"processes on {host.name} do not end: {host.pids()}"
        time.sleep(0.02)


@contextlib.contextmanager
def lab(count: int, *, trunk: bool = False, name: str = "kn") -> Iterator[Lab]:
    """`count` hosts called kn1, kn2, ...; all is removed at the end, also after a failure."""
    mark = f"mt-{secrets.token_hex(3)}"
    with contextlib.ExitStack() as stack:
        if count > _ROOMY_FROM:
            stack.enter_context(_roomy_neighbour_table(count))
        outside = f"{mark}-out"
        stack.enter_context(_namespace(outside))
        _batch(outside, _switch("mgmt", f"{OUTSIDE}/{_PREFIX_LENGTH}") + (_switch("trunk") if trunk else []))
        found = []
        for number in range(1, count + 1):
            namespace = f"{mark}-{number}"
            inode = stack.enter_context(_namespace(namespace))
            address = f"10.99.{number // 256}.{number % 256}"
            found.append(host := Host(f"{name}{number}", namespace, address, inode))
            stack.callback(end_processes, host)
            _batch(outside, _cable("mgmt", number, namespace) + (_cable("trunk", number, namespace) if trunk else []))
            _batch(namespace, [f"addr add {address}/{_PREFIX_LENGTH} dev mgmt", "link set mgmt up", *_routes()])
            if trunk:
                _batch(namespace, ["link set trunk0 up"])
        yield Lab(tuple(found), outside)


def _switch(name: str, address: str = "") -> list[str]:
    made = [f"link add {name} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"]
    if address:
        made.append(f"addr add {address} dev {name}")
    return [*made, f"link set {name} up"]


def _cable(switch: str, number: int, namespace: str) -> list[str]:
    far = "mgmt" if switch == "mgmt" else "trunk0"
    near = f"{switch}{number}"
    return [
        f"link add {near} type veth peer name {far} netns {namespace}",
        f"link set {near} master {switch}",
        f"link set {near} up",
    ]


def _routes() -> list[str]:
    return [f"route replace default via {OUTSIDE} dev mgmt", "route replace 224.0.0.0/4 dev mgmt"]


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[int]:
    """A namespace with its loopback up; yields the inode its processes are found by."""
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        yield Path(f"/run/netns/{name}").stat().st_ino
    finally:
        _run("ip", "netns", "delete", name)


@contextlib.contextmanager
def _roomy_neighbour_table(count: int) -> Iterator[None]:
    """Room for every host to know every other one; the table's limits are the machine's, so they are put back."""
    before = [path.read_text() for path in _THRESHOLDS]
    wanted = count * count + 1024
    for path, text, factor in zip(_THRESHOLDS, before, (1, 2, 4), strict=True):
        path.write_text(str(max(int(text), wanted * factor)))
    try:
        yield
    finally:
        for path, text in zip(_THRESHOLDS, before, strict=True):
            path.write_text(text)


def _await_capture(tcpdump: subprocess.Popen[bytes]) -> None:
    assert tcpdump.stdout is not None
    for line in tcpdump.stdout:
        if b"listening on" in line:
            return
    raise AssertionError(f"tcpdump ended with {tcpdump.wait()}")


def _await_rest(trace: Path, *, quiet_s: float = 0.2, timeout_s: float = 30.0) -> None:
    """Wait until a trace has stopped growing: the kernel hands packets over a little late."""
    deadline = time.monotonic() + timeout_s
    size, since = -1, time.monotonic()
    while time.monotonic() < min(deadline, since + quiet_s):
        if (now := trace.stat().st_size) != size:
            size, since = now, time.monotonic()
        time.sleep(0.02)


def _batch(namespace: str, lines: Sequence[str]) -> None:
    argv = ["ip", "-n", namespace, "-batch", "-"]
    subprocess.run(argv, input="\n".join(lines).encode(), capture_output=True, check=True, timeout=60)


def _run(*argv: str, timeout_s: float = 60.0) -> str:
    return subprocess.run(argv, capture_output=True, timeout=timeout_s, check=True).stdout.decode()
