"""Who finds whom, and who is told to talk to whom: `-broadcast` with hosts to begin with, mesh dial, hangup and dot."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64")]

# The first three begin with addresses and use no multicast; the last two have a group of their own.
BROADCAST = ("10.99.0.2,10.99.0.3", "10.99.0.1:9000", "10.99.0.1", "239.255.7.7", "239.255.7.7")
ALL = range(1, 6)


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Five hosts of one context in two meshes, three and two."""
    with cluster(5, flags=["-mesh-open"], flags_of=lambda index: ("-broadcast", BROADCAST[index])) as found:
        found.start()
        yield found


def edges(knights: Cluster, path: Path) -> set[tuple[int, int]]:
    """The connections that `mesh dot` writes, by the numbers of the hosts."""
    knights.daemons[0].ask(f"mesh dot {path}")
    text = path.read_text()
    assert text.startswith("graph minimega {\n") and text.endswith("}\n")
    found = re.findall(r'"(.*)" -- "(.*)"', text)
    assert all(re.fullmatch(r"kn\d", name) for pair in found for name in pair), text
    return {(int(one[2:]), int(other[2:])) for one, other in found}


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.1)


def test_two_meshes_become_one_by_a_dial_and_two_hosts_part_by_a_hangup(knights: Cluster, tmp_path: Path) -> None:
    first, second = knights.daemons[:2]
    knights.wait_for_members(3, 0, 1, 2)
    knights.wait_for_members(2, 3, 4)
    assert edges(knights, tmp_path / "apart.dot") == {(1, 2), (1, 3), (2, 3)}

    assert "10.99.0.77" in first.refused("mesh dial 10.99.0.77")
    first.ask(f"mesh dial {knights.hosts[3].address}")
    knights.wait_for_members(5)
    whole = {(one, other) for one in ALL for other in ALL if one < other}
    wait_for(lambda: edges(knights, tmp_path / "whole.dot") == whole)

    assert "kn9" in first.refused("mesh hangup kn9")
    first.ask("mesh hangup kn2")
    knights.wait_for_members(4, 0, 1)
    knights.wait_for_members(5, 2, 3, 4)
    assert "not in the mesh" in first.refused("mesh send kn2 version")
    assert "not in the mesh" in second.refused("mesh send kn1 version")
    assert first.ask("mesh send kn3 hostname") == "kn3: kn3"
    wait_for(lambda: edges(knights, tmp_path / "parted.dot") == whole - {(1, 2)})
    listed = first.ask(".annotate false mesh list").splitlines()
    assert listed[:5] == ["kn1", " |--kn3", " |--kn4", " |--kn5", "kn2"], listed

    second.ask(f"mesh dial {knights.hosts[0].address}")
    knights.wait_for_members(5)
    assert first.ask("mesh send kn2 hostname") == "kn2: kn2"


def test_what_is_no_address_is_refused_at_the_start() -> None:
    with cluster(1, flags=["-mesh-open", "-broadcast", "kn1:frog"]) as found, pytest.raises(AssertionError) as error:
        found.start()
    assert '"kn1:frog" is no address' in str(error.value)
