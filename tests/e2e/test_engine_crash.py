"""The mesh's engine killed under a real daemon: the daemon, its VMs and its clients go on, and the mesh comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64")]


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.02)


def kill_engine(knights: Cluster, index: int) -> int:
    """Kill a host's engine, and nothing else; returns its process id."""
    (pid,) = knights.engines(index)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in knights.engines(index))
    return pid


def test_an_engine_that_is_killed_takes_nothing_with_it() -> None:
    with cluster(2, flags=["-mesh-open"]) as knights:
        knights.start()
        knights.wait_for_members()
        first, second = knights.daemons
        for line in ("vm config memory 32", "vm config networks 5", "vm launch kvm a", "vm start a"):
            first.ask(line)
        qemus = first.qemus()
        assert len(qemus) == 1
        with first.connect() as client:
            for _ in range(3):
                killed = kill_engine(knights, 0)
                (reply,) = [
                    reply for reply in client.command(".annotate false .columns state vm info") if reply.rendered
                ]
                assert reply.rendered.split() == ["state", "RUNNING"]
                wait_for(lambda: bool(knights.engines(0)))
                knights.wait_for_members()
                assert killed not in knights.engines(0)
        assert first.process is not None
        assert first.process.poll() is None
        assert (first.base / "minimega.pid").read_text().strip() == str(first.pid)
        assert first.qemus() == qemus and first.vm("a")["state"] == "RUNNING"
        assert second.ask("mesh send kn1 .columns name,state vm info").splitlines()[1].split() == [
            *"kn1 | a | RUNNING".split()
        ]
        assert first.ask("mesh send kn2 hostname") == "kn2: kn2"
        first.ask("vm stop a")
        first.ask("vm start a")
