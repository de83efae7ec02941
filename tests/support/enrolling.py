"""Daemons of a lab made nodes of a cluster the way a user does it: `cluster init`, `cluster invite`, `cluster join`."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.cluster import Cluster
from tests.support.daemon import Daemon


def invited(authority: Daemon, words: str = "") -> str:
    """The command that `cluster invite` says to run on a new host, without the program's name."""
    text = authority.ask(f"cluster invite {words}")
    return text.rpartition("minimega ")[2].strip()


def enrol(cluster: Cluster, limits: Mapping[str, str] | None = None) -> None:
    """Make all hosts one cluster, the first one with the authority; `limits` are roles and namespaces by name."""
    first, *others = cluster.daemons
    first.ask("cluster init knights")
    for host, daemon in zip(cluster.hosts[1:], others, strict=True):
        daemon.ask(invited(first, f"{host.name} {(limits or {}).get(host.name, 'full')}"))
    cluster.wait_for_members()
