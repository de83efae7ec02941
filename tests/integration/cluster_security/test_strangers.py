"""Nodes without a certificate, with a foreign one, or a revoked one: no member, no answer, no byte. Real daemons."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from megatools.hostkit.clock import FakeClock
from megatools.minimega.files.content import read_manifest
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import required_authority
from tests.support.cluster import Cluster, cluster, mesh_size
from tests.support.daemon import Daemon
from tests.support.enrolling import invited
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare"), pytest.mark.timeout(300)]

STRANGER = 3  # kn4


@pytest.fixture(scope="module")
def knights() -> Iterator[Cluster]:
    """Three nodes of a cluster, the first of which has a file, and a fourth host that is in none."""
    with cluster(4) as found:
        found.start()
        one, two, three = found.daemons[:STRANGER]
        one.ask("cluster init knights")
        two.ask(invited(one, "kn2"))
        three.ask(invited(one, "kn3"))
        found.wait_for_members(3, 0, 1, 2)
        (one.base / "files" / "grail").write_bytes(b"holy" * 1000)
        two.ask("file get grail")
        yield found


def until(condition: Callable[[], bool], *, timeout_s: float = 60.0) -> float:
    """Wait until something is so; returns how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.02)
    return time.monotonic() - began


def is_left_alone(knights: Cluster) -> None:
    """The fourth host sees nobody, is answered by nobody, and gets no file, whatever it tries."""
    daemon = knights.daemons[STRANGER]
    assert mesh_size(daemon) == 1
    assert "kn1" not in daemon.ask("mesh list")
    for name in ("kn1", "kn2"):
        assert "not in the mesh" in daemon.refused(f"mesh send {name} version")
    assert "file not found" in daemon.refused("file get grail")
    assert daemon.refused(f"mesh dial {knights.hosts[0].address}")
    assert mesh_size(daemon) == 1

    def are_three() -> bool:
        """The members are three again, if an engine was just replaced, and never more."""
        sizes = [mesh_size(one) for one in knights.daemons[:STRANGER]]
        assert max(sizes) <= STRANGER
        return sizes == [STRANGER] * STRANGER

    until(are_three)


def bytes_got(knights: Cluster, pem: str) -> str:
    """What somebody on the fourth host gets from the first one's side channel, asking for a content it knows of."""
    _, manifest = read_manifest(knights.daemons[0].base / "files" / "grail")
    words = (f"{knights.hosts[0].address}:9001", pem, "kn4", "pull", f"content/{manifest.id}")
    return knights.hosts[STRANGER].run(sys.executable, "-m", "tests.support.stranger", *words).strip()


def pem_of(daemon: Daemon) -> str:
    """The file with a daemon's certificate and key."""
    return daemon.flags[daemon.flags.index("-cluster-dir") + 1] + "/node.pem"


class TestStrangers:
    """One host, from unknown to enrolled to revoked."""

    def test_without_a_certificate(self, knights: Cluster) -> None:
        is_left_alone(knights)
        assert bytes_got(knights, "none") == ""
        assert bytes_got(knights, "plain") == ""

    def test_with_a_foreign_certificate(self, knights: Cluster) -> None:
        daemon = knights.daemons[STRANGER]
        daemon.ask("cluster init strangers")
        until(lambda: daemon.rows("mesh status")[0]["security"] == "tls")
        is_left_alone(knights)
        assert bytes_got(knights, pem_of(daemon)) == ""
        daemon.ask("cluster leave")

    @pytest.mark.parametrize(("years", "said"), [(-6, "expired on"), (1, "is not valid before")])
    def test_with_a_certificate_at_the_wrong_time(
        self, knights: Cluster, tmp_path: Path, years: int, said: str
    ) -> None:
        daemon, directory = knights.daemons[STRANGER], Path(pem_of(knights.daemons[0])).parent
        for path in directory.glob("authority.*"):  # a copy, so that kn1 knows nothing of it
            shutil.copy(path, tmp_path)
        then = FakeClock(datetime.now(UTC) + timedelta(days=365 * years))
        authority = required_authority(CredentialStore(tmp_path, "kn1", then))
        CredentialStore(Path(pem_of(daemon)).parent, "kn4").save(authority.credentials("kn4"))
        daemon.quit()
        daemon.start()
        assert daemon.rows("cluster")[0]["remarks"].count(said) == 1
        is_left_alone(knights)
        assert bytes_got(knights, pem_of(daemon)) == ""  # nor when it does not care itself
        daemon.ask("cluster leave")

    def test_with_one_of_the_cluster_it_is_a_member(self, knights: Cluster) -> None:
        daemon = knights.daemons[STRANGER]
        daemon.ask(invited(knights.daemons[0], "kn4"))
        knights.wait_for_members(4)
        assert "minimega" in daemon.ask("mesh send kn1 version")
        assert bytes_got(knights, pem_of(daemon)) != ""

    def test_revoked_it_is_out_within_seconds(self, knights: Cluster) -> None:
        daemon = knights.daemons[STRANGER]
        knights.cut(2)  # kn3 is away, and knows of nothing
        until(lambda: mesh_size(knights.daemons[0]) == 3)
        knights.daemons[0].ask("cluster revoke kn4")
        took_s = until(lambda: [mesh_size(one) for one in (knights.daemons[0], knights.daemons[1])] == [2, 2])
        assert took_s < 5.0
        until(lambda: mesh_size(daemon) == 1)
        assert "not in the mesh" in daemon.refused("mesh send kn1 version")
        assert bytes_got(knights, pem_of(daemon)) == ""
        assert daemon.refused("file get grail")

    def test_a_node_that_was_away_does_not_serve_it_either(self, knights: Cluster) -> None:
        daemon, away = knights.daemons[STRANGER], knights.daemons[2]
        knights.mend(2)
        answers: list[str] = []
        deadline = time.monotonic() + 60
        while mesh_size(away) != 3 or "kn4" in away.ask("mesh list"):
            answers += [str(one["Response"]) for one in daemon.answers("mesh send kn3 version")]
            assert time.monotonic() < deadline, away.ask("mesh status")
        quiet = time.monotonic() + 3
        while time.monotonic() < quiet:  # and it stays so, as often as it tries
            answers += [str(one["Response"]) for one in daemon.answers("mesh send kn3 version")]
            time.sleep(0.1)
        assert set(answers) == {""}
        is_left_alone(knights)
