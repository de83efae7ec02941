"""A mesh with hubs is as closed as a clique, though nodes do not connect to each other. Real daemons."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.cluster import cluster, mesh_size
from tests.support.daemon import Daemon
from tests.support.enrolling import invited
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare"), pytest.mark.timeout(180)]


def _until(condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.05)
    return time.monotonic() - began


def _gets_nothing(stranger: Daemon) -> None:
    assert mesh_size(stranger) == 1
    for name in ("kn1", "kn2"):
        assert "not in the mesh" in stranger.refused(f"mesh send {name} version")
    assert "file not found" in stranger.refused("file get grail")


def test_a_hub_lets_members_reach_each_other_and_nobody_else() -> None:
    """kn1 is the hub, kn2 and kn3 are its clients, kn4 is in no cluster, in another one, a client, and revoked."""
    with cluster(4, flags=["-mesh-hubs", "kn1"]) as found:
        found.start()
        one, two, three, four = found.daemons
        (one.base / "files" / "grail").write_bytes(b"holy" * 1000)
        one.ask("cluster init knights")
        for daemon, name in ((two, "kn2"), (three, "kn3")):
            daemon.ask(invited(one, name))
        found.wait_for_members(3, 0, 1, 2)
        assert two.rows("mesh status")[0]["mode"] == "hub"
        assert sorted(row["Host"] for row in two.answers("mesh send all hostname")) == ["kn1", "kn3"]
        two.ask("file get grail")

        four.ask("cluster init strangers")
        _until(lambda: four.rows("mesh status")[0]["security"] == "tls")
        _gets_nothing(four)
        four.ask("cluster leave")

        four.ask(invited(one, "kn4"))
        found.wait_for_members(4)
        assert "minimega" in four.ask("mesh send kn2 version")
        two.ask("cluster revoke kn4")  # not by the hub
        assert _until(lambda: [mesh_size(daemon) for daemon in found.daemons[:3]] == [3, 3, 3]) < 5.0
        _until(lambda: mesh_size(four) == 1)
        _gets_nothing(four)
        found.wait_for_members(3, 0, 1, 2)
        assert sorted(row["Host"] for row in three.answers("mesh send all hostname")) == ["kn1", "kn2"]
