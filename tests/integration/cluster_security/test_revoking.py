"""Revoking a node is no trouble for what the others are doing. Real daemons."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.cluster import Cluster, cluster, mesh_size
from tests.support.enrolling import enrol
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare"), pytest.mark.timeout(120)]

_ENGINE = "megatools.minimega.mesh.engine"
_COMMAND_S = 5
"""Longer than an engine that waits for no command takes to be replaced."""


def _engines(found: Cluster) -> list[list[int]]:
    return [host.pids(_ENGINE) for host in found.hosts[:2]]


@pytest.mark.full
def test_commands_that_run_go_on_and_the_engines_are_replaced_after_them() -> None:
    with cluster(3) as found, ThreadPoolExecutor(1) as pool:
        found.start()
        enrol(found)
        one = found.daemons[0]
        before = _engines(found)
        command = pool.submit(one.answers, f"mesh send kn2 shell sleep {_COMMAND_S}")
        began = time.monotonic()
        one.ask("cluster revoke kn3")
        while [mesh_size(daemon) for daemon in found.daemons[:2]] != [2, 2]:
            assert time.monotonic() - began < 5.0
        assert [(answer["Host"], answer["Error"]) for answer in command.result(60)] == [("kn2", "")]
        assert time.monotonic() - began >= _COMMAND_S - 1
        assert _engines(found) == before
        while any(old == new for old, new in zip(before, _engines(found), strict=True)):
            assert time.monotonic() - began < 60
            time.sleep(0.1)
        found.wait_for_members(2, 0, 1)
