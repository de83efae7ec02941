"""What VMs and taps leave on a machine, counted outside the daemon too: for tests that nothing is half made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.daemon import Daemon
from tests.support.lab import Lab


@dataclass(frozen=True)
class Traces:
    """Everything that a VM or a tap is made of, from every place that knows of one."""

    vms: frozenset[str]
    taps: frozenset[str]
    links: frozenset[str]
    ports: frozenset[str]
    processes: int
    directories: frozenset[str]


def traces(daemon: Daemon, lab: Lab) -> Traces:
    """The traces there are now: the daemon's lists, the kernel's links, the switch's ports, processes, directories."""
    namespaces = [row["namespace"] for row in daemon.rows("namespace")]
    directories = {path.name for path in daemon.base.iterdir() if re.fullmatch(r"[0-9]+|dnsmasq-.*", path.name)}
    for path in (daemon.base / "namespaces").glob("*/*"):
        directories.add(f"{path.parent.name}/{path.name}")
    return Traces(
        vms=frozenset(row["id"] for name in namespaces for row in daemon.rows(f"namespace {name} vm info")),
        taps=frozenset(row["tap"] for name in namespaces for row in daemon.rows(f"namespace {name} tap")),
        links=frozenset(lab.links()),
        ports=switch_ports(daemon, lab),
        processes=len(daemon.qemus()),
        directories=frozenset(directories),
    )


def switch_ports(daemon: Daemon, lab: Lab) -> frozenset[str]:
    """The ports in the database of the daemon's private Open vSwitch; none when it has not started one."""
    socket = daemon.base / "ovs" / "db.sock"
    if not socket.exists():
        return frozenset()
    text = lab.run("ovs-vsctl", f"--db=unix:{socket}", "--timeout=10", "--columns=name", "--bare", "list", "Port")
    return frozenset(text.split())
