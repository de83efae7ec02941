"""`file get` between real daemons with certificates: one large file, one small one, and eight hosts at once.

Everything is in network namespaces, file directories are in tmpfs. The large file is new to the daemons in every round,
so that reading it through for its digests counts; the reference is `SSLSocket.sendfile` under the same certificates
between the same two hosts, in turns (`pulling_node`). For the eight hosts what each host sends is shaped (tbf, 200
Mbit/s): two cores show nothing about links otherwise. The reference there: eight contents that only one host has,
fetched by eight hosts one after another.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.promise import Options, Result
from bench.pulling import WANTED, prepare, run_pull
from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon

_MIB = 1 << 20
_LARGE = 1 << 30
_ROUNDS = 3
_SMALL_FILES = 30
_RECEIVERS = 8
_SHARED = 64 * _MIB
_RATE = "200mbit"


def run(options: Options) -> Iterable[Result]:
    """The promises about files."""
    rounds = options.rounds or _ROUNDS
    with _directory() as place:
        prepare(place, _LARGE, 3)
        with _knights(3, place) as found:
            yield from _large(found, place, rounds)
            yield _small(found, place)
    with _directory() as place:
        prepare(place, _MIB, _RECEIVERS + 1)
        with _knights(_RECEIVERS + 1, place) as found:
            yield _many(found, place)


@contextmanager
def _directory() -> Generator[Path]:
    place = Path(tempfile.mkdtemp(prefix="mt-", dir="/dev/shm"))
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextmanager
def _knights(count: int, place: Path) -> Generator[Cluster]:
    """Daemons that see each other; credentials and file directories are below `place`."""
    for number in range(count):
        _files(place, number).mkdir()

    def flags(index: int) -> Sequence[str]:
        return ["-filepath", str(_files(place, index)), "-cluster-dir", str(place / f"kn{index + 1}")]

    with cluster(count, flags_of=flags) as found:
        found.start()
        found.wait_for_members()
        yield found


def _files(place: Path, index: int) -> Path:
    return place / f"files{index + 1}"


# ---------------------------------------------------------------------- one large file


def _large(found: Cluster, place: Path, rounds: int) -> Iterable[Result]:
    source, target = _files(place, 0) / WANTED, _files(place, 1) / WANTED
    source.hardlink_to(place / WANTED)
    ours: list[float] = []
    plain: list[float] = []
    notes: list[str] = []
    for _ in range(rounds):
        took_s, _ = run_pull(found.hosts[0], found.hosts[1], place, _LARGE, "-plain")
        plain.append(_LARGE / took_s / _MIB)
        (place / "got").unlink()
        os.utime(source)  # another version: it is read through again
        target.unlink(missing_ok=True)
        before = [_cpu_s(daemon) for daemon in found.daemons[:2]]
        ours.append(_LARGE / _get(found.daemons[1], WANTED) / _MIB)
        used = [_cpu_s(daemon) - was for daemon, was in zip(found.daemons, before, strict=False)]
        notes.append(f"{used[0]:.1f}+{used[1]:.1f}")
        if not filecmp.cmp(source, target, shallow=False):
            raise RuntimeError("the copy differs")
    memory = "+".join(f"{_peak_mib(daemon):.0f}" for daemon in found.daemons[:2])
    note = f"source+receiver: CPU {', '.join(notes)} s, peak memory {memory} MiB; rounds {_rounds(ours, plain)}"
    value, reference = statistics.median(ours), statistics.median(plain)
    yield Result("files: get of 1 GiB", value, "MiB/s", reference, value / reference, 0.6, True, note)
    third = _LARGE / _get(found.daemons[2], WANTED) / _MIB
    yield Result("files: the same by a third host", third, "MiB/s", reference, third / reference, 0.6, True)


def _rounds(ours: Sequence[float], plain: Sequence[float]) -> str:
    return ", ".join(f"{one:.0f}/{other:.0f}" for one, other in zip(ours, plain, strict=True))


def _small(found: Cluster, place: Path) -> Result:
    for number in range(_SMALL_FILES):
        (_files(place, 0) / f"small{number}").write_bytes(os.urandom(1024))
    times = [_get(found.daemons[1], f"small{number}") for number in range(_SMALL_FILES)]
    note = f"median of {_SMALL_FILES}, the slowest {max(times) * 1000:.0f} ms"
    return Result("files: get of 1 KB", statistics.median(times) * 1000, "ms", 0, 0, 20.0, False, note)


# ---------------------------------------------------------------------- eight hosts at once


def _many(found: Cluster, place: Path) -> Result:
    """The aggregate rate of eight hosts that fetch one file at once."""
    names = [f"own{number}" for number in range(_RECEIVERS)]
    for name in (*names, "shared"):
        (_files(place, 0) / name).write_bytes(os.urandom(_SHARED))
    for host in found.hosts:
        host.run(*"tc qdisc add dev mgmt root tbf burst 256kb latency 100ms rate".split(), _RATE)
    receivers = range(1, _RECEIVERS + 1)
    started = time.monotonic()
    for index, name in zip(receivers, names, strict=True):
        _get(found.daemons[index], name)
    alone_s = time.monotonic() - started
    started = time.monotonic()
    found.each(lambda daemon: _get(daemon, "shared"), receivers)
    together_s = time.monotonic() - started
    for index in receivers:
        if not filecmp.cmp(_files(place, 0) / "shared", _files(place, index) / "shared", shallow=False):
            raise RuntimeError("a copy differs")
    total = _RECEIVERS * _SHARED / _MIB
    times = f"{together_s:.1f} s, one after another {alone_s:.1f} s"
    note = f"each host sends at most {_RATE}; {_SHARED // _MIB} MiB: {times}"
    value, reference = total / together_s, total / alone_s
    return Result("files: get by 8 hosts at once", value, "MiB/s", reference, value / reference, 2.0, True, note)


# ---------------------------------------------------------------------- what a daemon does


def _get(daemon: Daemon, name: str) -> float:
    """Seconds from the command to the end of its answer."""
    with daemon.connect() as connection:
        started = time.monotonic()
        errors = [error for reply in connection.command(f"file get {name}") for error in reply.errors]
        took_s = time.monotonic() - started
    if errors:
        raise RuntimeError(str(errors))
    return took_s


def _cpu_s(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mib(daemon: Daemon) -> float:
    text = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024
