"""Bulk bytes between two hosts over the side channel, against sendfile under the same TLS; and what a signature costs.

`pulls` is a part of the benchmark `cluster`. Two network namespaces, tmpfs to tmpfs, the same certificates; ours pulls
in chunks of 16 MiB, one after another, the reference is one `SSLSocket.sendfile` of the standard library.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from bench.promise import Result
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import found_cluster
from megatools.minimega.mesh.signing import CertificateTrust
from tests.support import hosts
from tests.support.hosts import Host

SIZE = 1 << 30
ROUNDS = 3
_MIB = 1 << 20
WANTED = "image"
_SIGNED = 500


def pulls(rounds: int | None = None, size: int = SIZE) -> Iterable[Result]:
    """The promise about one file between two hosts, and the cost of a signed request."""
    directory = Path(tempfile.mkdtemp(prefix="mt-", dir="/dev/shm"))
    try:
        prepare(directory, size)
        ours: list[float] = []
        plain: list[float] = []
        note = ""
        with hosts.lab(2) as lab:
            for _ in range(rounds or ROUNDS):
                took_s, _ = run_pull(lab.hosts[0], lab.hosts[1], directory, size, "-plain")
                plain.append(size / took_s / _MIB)
                took_s, note = run_pull(lab.hosts[0], lab.hosts[1], directory, size, "")
                ours.append(size / took_s / _MIB)
                assert filecmp.cmp(directory / WANTED, directory / "got", shallow=False), "the copy differs"
        value, reference = statistics.median(ours), statistics.median(plain)
        yield Result(
            "cluster: pull of 1 GiB", value, "MiB/s", reference, value / reference, 0.6, True, f"the puller's {note}"
        )
        yield Result("cluster: sign and verify a request", _signature_us(directory), "us", 0, 0, 1000.0, False)
    finally:
        shutil.rmtree(directory)


def prepare(directory: Path, size: int, hosts_count: int = 2) -> None:
    """An authority, the credentials of the hosts, and a file."""
    authority = found_cluster(CredentialStore(directory / "authority", "authority"), "", ())
    for name in (f"kn{number + 1}" for number in range(hosts_count)):
        CredentialStore(directory / name, name).save(authority.credentials(name))
    piece = os.urandom(min(size, 16 * _MIB))
    with (directory / WANTED).open("wb") as stream:
        for _ in range(0, size, len(piece)):
            stream.write(piece)


def run_pull(server: Host, client: Host, directory: Path, size: int, kind: str) -> tuple[float, str]:
    """One pull: the seconds it took, and what it cost the puller."""
    words = [sys.executable, "-m", "bench.pulling_node"]
    with _serving(server, [*words, f"serve{kind}", str(directory), server.name, server.address, WANTED]):
        text = client.run(
            *words,
            f"pull{kind}",
            str(directory),
            client.name,
            server.address,
            server.name,
            WANTED,
            str(size),
            timeout_s=600,
        )
    took_s, cpu_s, rss_mib = map(float, text.split())
    return took_s, f"CPU {cpu_s:.1f} s, memory {rss_mib:.0f} MiB"


@contextmanager
def _serving(host: Host, argv: list[str]) -> Generator[None]:
    with subprocess.Popen([*host.prefix, *argv], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
            yield
        finally:
            process.kill()


def _signature_us(directory: Path) -> float:
    """Microseconds for one signature and its verification, median."""
    store = CredentialStore(directory / "kn1", "kn1")
    found = store.load()
    assert found is not None
    trust = CertificateTrust(found, store)
    request = os.urandom(500)
    took: list[float] = []
    for _ in range(_SIGNED):
        started = time.perf_counter()
        trust.verify(request, trust.sign(request, ()), "kn1", 0)
        took.append(time.perf_counter() - started)
    return statistics.median(took) * 1e6
