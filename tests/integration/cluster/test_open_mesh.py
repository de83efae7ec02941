"""An open mesh of real daemons: two nodes of one name, and meshes of different contexts on one network."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster, cluster, mesh_size
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare"), pytest.mark.timeout(120)]


@pytest.fixture
def three() -> Iterator[Cluster]:
    """Three hosts without daemons."""
    with cluster(3, flags=["-mesh-open"]) as found:
        yield found


def test_two_nodes_of_one_name_cannot_be_told_apart_and_say_so(three: Cluster) -> None:
    one, _, third = three.daemons
    third.prefix = tuple('hostname kn2; exec "$@"' if "hostname kn3" in word else word for word in third.prefix)
    three.start(0, 1)
    three.wait_for_members(2, 0, 1)
    assert "minimega" in one.ask("mesh send kn2 version")
    third.start()
    three.wait_for_members(3, 0)
    assert 'several nodes are named "kn2"' in one.refused("mesh send kn2 version")
    assert all(host.address in one.answers("mesh send kn2 version")[0]["Error"] for host in three.hosts[1:])
    third.quit()
    three.wait_for_members(2, 0)
    assert "minimega" in one.ask("mesh send kn2 version")


def test_meshes_of_different_contexts_do_not_mix(three: Cluster) -> None:
    third = three.daemons[2]
    third.flags = [*third.flags, "-context", "other"]
    three.start()
    three.wait_for_members(2, 0, 1)
    assert "is in another mesh" in third.refused(f"mesh dial {three.hosts[0].address}")
    later = time.monotonic() + 1
    while time.monotonic() < later:  # that nothing comes of it takes time to see
        assert [mesh_size(daemon) for daemon in three.daemons] == [2, 2, 1]
        assert [daemon.rows("mesh status")[0]["peers"] for daemon in three.daemons] == ["1", "1", "0"]
        time.sleep(0.1)
    assert "not in the mesh" in third.refused("mesh send kn1 version")
