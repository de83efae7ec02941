"""The mesh of 16 fresh daemons: how soon all see all, what `mesh send all version` costs, what a hung node costs.

The reference is the bare engine (`cluster_bare`): 16 nodes of two plain processes each, as many as ours have, with
sessions of the same configuration and certificates, opened at the same moment, in the same kind of namespaces. Commands
are sent as people and pages send them, with a pause before each (both sides' processes have gone cold by then), once
the nodes have met and compared what they know; what one right after the other costs is told beside it. Part of the
benchmark `cluster`.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path

from bench.promise import Result
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.engine_config import Certificates, EngineSettings, engine_config
from megatools.minimega.mesh.issuing import found_cluster
from megatools.minimega.mesh.scouting import scouting
from tests.support import hosts
from tests.support.cluster import Cluster, cluster, mesh_size
from tests.support.daemon import Daemon
from tests.support.hosts import Host

NODES = 16
ROUNDS = 3
SENDS = 40
_PAUSE_S = 0.02
_CALM_S = 2.0
_PORT = 9000
_SILENCE_S = 2.0
_LOOK_S = 0.01


def mesh(rounds: int | None = None) -> Iterable[Result]:
    """The promises of the mesh."""
    with tempfile.TemporaryDirectory(prefix="mt-") as place:
        authority = found_cluster(CredentialStore(Path(place), "founder"), "bench", ())
        own = {name: authority.credentials(name) for name in (f"kn{number + 1}" for number in range(NODES))}
        seen: list[tuple[float, float]] = []
        sent: list[tuple[float, float]] = []
        dense: list[tuple[float, float]] = []
        answered_s = named_s = 0.0
        for _ in range(rounds or ROUNDS):
            with _bare_nodes(own) as nodes:
                bare_seen = _bare_discovery(nodes)
                time.sleep(_CALM_S)
                bare_sent, bare_dense = _bare_asking(nodes[0], _PAUSE_S), _bare_asking(nodes[0], 0)
            with _daemons(own) as daemons:
                seen.append((_discovery(daemons), bare_seen))
                time.sleep(_CALM_S)
                sent.append((_sending(daemons.daemons[0], _PAUSE_S), bare_sent))
                dense.append((_sending(daemons.daemons[0], 0), bare_dense))
                answered_s, named_s = _hung(daemons)
    yield _result("all of 16 see all", "s", seen, 1)
    without = ", ".join(f"{ours * 1000:.3g}/{bare * 1000:.3g}" for ours, bare in dense)
    yield _result("mesh send all version", "ms", sent, 1000, f"; without pauses: {without}")
    note = f"the one that hangs was named after {named_s:.1f} s, the deadline is {_SILENCE_S:g} s"
    yield Result("cluster: answers of the others while one hangs", answered_s * 1000, "ms", 0, 0, 250.0, False, note)


def _result(name: str, unit: str, pairs: Sequence[tuple[float, float]], factor: float, more: str = "") -> Result:
    value = statistics.median(ours for ours, _ in pairs) * factor
    reference = statistics.median(bare for _, bare in pairs) * factor
    rounds = ", ".join(f"{ours * factor:.3g}/{bare * factor:.3g}" for ours, bare in pairs)
    return Result(f"cluster: {name}", value, unit, reference, value / reference, 3.0, False, f"rounds: {rounds}{more}")


# ---------------------------------------------------------------------- ours


@contextlib.contextmanager
def _daemons(own: Mapping[str, Credentials]) -> Generator[Cluster]:
    with cluster(NODES, flags=["-mesh-timeout", str(_SILENCE_S)]) as found:
        for host, daemon in zip(found.hosts, found.daemons, strict=True):
            directory = Path(daemon.flags[daemon.flags.index("-cluster-dir") + 1])
            CredentialStore(directory, host.name).save(own[host.name])
        yield found


def _discovery(found: Cluster) -> float:
    """Start all at once; from the last socket that answers until all see all."""
    found.start()
    started = time.monotonic()
    for daemon in found.daemons:  # one after another: asking all again and again would take the processors from them
        while mesh_size(daemon) < NODES:
            if time.monotonic() - started > 60:
                raise RuntimeError(f"the daemon in {daemon.base} does not see all others")
            time.sleep(_LOOK_S)
    return time.monotonic() - started


def _sending(daemon: Daemon, pause_s: float) -> float:
    """The median time of `mesh send all version` from the command to the end of its answer, over one connection."""
    times: list[float] = []
    with daemon.connect() as connection:
        for _ in range(SENDS):
            time.sleep(pause_s)
            started = time.monotonic()
            errors = [error for reply in connection.command("mesh send all version") for error in reply.errors]
            times.append(time.monotonic() - started)
            assert not errors, errors
    return statistics.median(times)


def _hung(found: Cluster) -> tuple[float, float]:
    """When the others' answers were there, and when the one that hangs was named."""
    found.stop(NODES - 1)
    try:
        with found.daemons[0].connect() as connection:
            started = time.monotonic()
            seen: list[tuple[float, str]] = []
            for reply in connection.command("mesh send all version"):
                seen += [(time.monotonic() - started, text) for text in (reply.rendered, str(reply.errors)) if text]
    finally:
        found.cont(NODES - 1)
    name = found.hosts[NODES - 1].name
    return max(when for when, text in seen if name not in text), max(when for when, text in seen if name in text)


# ---------------------------------------------------------------------- the bare engine


@contextlib.contextmanager
def _bare_nodes(own: Mapping[str, Credentials]) -> Generator[Sequence[subprocess.Popen[str]]]:
    with hosts.lab(NODES) as lab:
        nodes = [_bare_node(own[host.name], host) for host in lab.hosts]
        try:
            for node in nodes:
                _heard(node)
            yield nodes
        finally:
            for node in nodes:
                node.kill()
                node.communicate()


def _bare_node(own: Credentials, host: Host) -> subprocess.Popen[str]:
    settings = EngineSettings(
        role="peer",
        listen=f"{host.address}:{_PORT}",
        interface="mgmt",
        scouting=scouting("", _PORT, "bench", own.cluster),
        lease_s=3.0,
        certificates=Certificates(own.authority.pem, own.certificate.pem, own.key.pem),
    )
    words = json.dumps({"name": host.name, "config": engine_config(settings)})
    argv = [*host.prefix, sys.executable, "-m", "bench.cluster_bare", words]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _bare_discovery(nodes: Sequence[subprocess.Popen[str]]) -> float:
    """From the moment all are told to open their session until all see all."""
    started = time.monotonic()
    for node in nodes:
        _tell(node, "open")
    for node in nodes:
        _heard(node)
        _tell(node, f"see {NODES}")
    return max(float(_heard(node)) for node in nodes) - started


def _bare_asking(node: subprocess.Popen[str], pause_s: float) -> float:
    times: list[float] = []
    for _ in range(SENDS):
        time.sleep(pause_s)
        _tell(node, f"ask {NODES - 1}")
        times.append(float(_heard(node)))
    return statistics.median(times)


def _tell(node: subprocess.Popen[str], line: str) -> None:
    assert node.stdin is not None
    node.stdin.write(line + "\n")
    node.stdin.flush()


def _heard(node: subprocess.Popen[str]) -> str:
    assert node.stdout is not None
    line = node.stdout.readline()
    if not line:
        raise RuntimeError(f"a bare node ended with {node.wait()}")
    return line
