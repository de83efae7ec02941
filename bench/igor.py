"""igor: what one command costs at two sizes, how many submissions a second the service takes, and the scheduler.

A command is a whole process; its CPU time is what the kernel says of it afterwards. Stores are filled through the
store itself: a third of the reservations is past, a third active, a third to come. What nodes answer comes from the
cache, as it does for a minute after somebody looked. Submissions carry a kernel and an initrd each, as descriptors.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

from bench.promise import Options, Result
from megatools.igor.api.client import SocketDoor
from megatools.igor.api.engine import open_engine
from megatools.igor.api.requests import Check, CheckReport, Submit
from megatools.igor.model import config as configuration
from megatools.igor.model import nodes
from megatools.igor.model.config import Config
from megatools.igor.model.host import Host
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Details, Reservation, ReservationId, State
from megatools.igor.plan import scheduler
from megatools.igor.plan.calendar import Booking, Wish, obstacles

ROUNDS = 5
USERS, SUBMISSIONS = 16, 2000
_IGOR = Path(sys.executable).with_name("igor")
_HOUR_S = 3600
_ROOT = Person(0, "root", frozenset(), admin=True)
_CLIENT = "import sys; from bench.igor import client; client(sys.argv[1:])"


def run(options: Options) -> Iterable[Result]:
    """The promises of igor."""
    rounds = options.rounds or ROUNDS
    yield from _commands(rounds)
    yield from _scheduler(rounds)
    yield from _service()


# ---------------------------------------------------------------------- whole commands


def _commands(rounds: int) -> Iterator[Result]:
    sizes = {"520/40": (520, 40, 120.0), "10k/1k": (10_000, 1_000, 0.0), "10k/10k": (10_000, 10_000, 250.0)}
    cost: dict[str, dict[str, float]] = {}
    bare = statistics.median(_cpu_ms([sys.executable, "-c", "pass"]) for _ in range(rounds))
    for size, (node_count, reservations, _) in sizes.items():
        with _filled(node_count, reservations) as (config, place):
            cost[size] = _measured(place, config, rounds)
    for size, (_, _, limit_ms) in sizes.items():
        for command, ms in cost[size].items():
            if limit_ms:
                note = f"CPU, whole process; a bare interpreter takes {bare:.0f} ms"
                yield Result(f"igor {command} at {size}", ms, "ms", 0, 0, limit_ms, higher_is_better=False, note=note)
    for command, ms in cost["10k/10k"].items():
        small = cost["10k/1k"][command]
        note = "ten times the reservations, less than ten times the CPU"
        yield Result(f"igor {command} growth", ms, "ms", small, ms / small, 10, higher_is_better=False, note=note)


def _measured(place: Path, config: Path, rounds: int) -> dict[str, float]:
    base = [str(_IGOR), "-config", str(config)]
    kernel, initrd = str(place / "kernel"), str(place / "initrd")
    shows, subs = [], []
    for number in range(rounds + 1):
        shows.append(_cpu_ms([*base, "show"]))
        subs.append(_cpu_ms([*base, "sub", "-r", f"new{number}", "-k", kernel, "-i", initrd, "-n", "10", "-t", "1"]))
        subprocess.run([*base, "del", f"new{number}"], check=True, stdout=subprocess.DEVNULL)
    return {"show": statistics.median(shows[1:]), "sub -n 10": statistics.median(subs[1:])}


def _cpu_ms(argv: Sequence[str]) -> float:
    pid = os.posix_spawn(
        argv[0], list(argv), dict(os.environ), file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{argv} ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1000


@contextlib.contextmanager
def _filled(node_count: int, reservations: int) -> Generator[tuple[Path, Path]]:
    """A configuration whose store has so many nodes and reservations, and the directory it is in."""
    with tempfile.TemporaryDirectory(prefix="igor-bench-") as name:
        place = Path(name)
        path = _prepared(place, node_count)
        config = configuration.load(path)
        _fill(config, reservations)
        yield path, place


def _prepared(place: Path, node_count: int) -> Path:
    (place / "tftpboot").mkdir()
    (place / "kernel").write_bytes(b"\0" * 0x1FE + b"\x55\xaa" + b"\0\0HdrS" + bytes(4096))
    (place / "initrd").write_bytes(b"070701" + b"0" * 4096)
    path = place / "igor.conf"
    described = {
        "tftproot": str(place / "tftpboot"), "prefix": "kn", "start": 1, "end": node_count, "rackwidth": 8,
        "rackheight": 5, "socket": str(place / "igor.sock"), "probes": {"max_age_s": 86400},
    }  # fmt: skip
    path.write_text(json.dumps(described))
    return path


def _fill(config: Config, reservations: int) -> None:
    engine = open_engine(config)
    now_s = engine.now_s()
    cluster = config.cluster
    width = max(1, len(cluster) * 3 // (reservations + 3) * 9 // 10)  # a third of them fills 9 of 10 nodes
    with engine.store.change() as change:
        for number in cluster.everything():
            address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            change.set_host(Host(number, cluster.name(number), ip=address))
        for number in range(reservations):
            kind, at = number % 3, number // 3
            first = 1 + at * width % (len(cluster) - width)
            start_s = now_s + (kind - 1) * 24 * _HOUR_S - _HOUR_S
            added = change.add(_reservation(number, nodes.NodeSet(((first, first + width - 1),)), start_s, kind))
            if kind == 0:
                change.end(added, now_s - 13 * _HOUR_S)
    engine.store.record_probes(dict.fromkeys(cluster.everything(), True), now_s)
    engine.store.close()


def _reservation(number: int, chosen: nodes.NodeSet, start_s: int, kind: int) -> Reservation:
    state = State.ACTIVE if kind == 1 else State.PLANNED
    end_s = start_s + 12 * _HOUR_S
    details = Details(args="console=ttyS0", owner_uid=1000 + number % 50, created_s=start_s)
    owner = f"user{number % 50}"
    return Reservation(ReservationId(0), f"r{number}", owner, "", chosen, start_s, end_s, state, details=details)


# ---------------------------------------------------------------------- the scheduler


def _scheduler(rounds: int) -> Iterator[Result]:
    bookings = _calendar(10_000, 10_000)
    wish = Wish(12 * _HOUR_S, 0, ((1 << 10_000) - 1) << 1, count=64, contiguous=True)
    ours, plain = [], []
    for _ in range(rounds):
        began = time.process_time()
        slot = scheduler.earliest(bookings, wish)
        ours.append((time.process_time() - began) * 1000)
        began = time.process_time()
        other = scheduler.slowly(bookings, obstacles(bookings, wish), wish, ())
        plain.append((time.process_time() - began) * 1000)
        if slot != other:
            raise RuntimeError(f"the sweep found {slot}, looking at every time {other}")
    ms, slow_ms = statistics.median(ours), statistics.median(plain)
    name = "scheduler: 64 of 10k nodes, 10k reservations"
    yield Result(name, ms, "ms", 0, 0, 20, higher_is_better=False, note="a day ahead, nothing fits earlier")
    note = "against looking at every time by itself"
    yield Result(f"{name}, sweep", ms, "ms", slow_ms, ms / slow_ms, 0.5, higher_is_better=False, note=note)


def _calendar(node_count: int, reservations: int) -> list[Booking]:
    """Blocks of nodes, each booked without a gap for a day and more, so that a block of 64 is free only then."""
    found: list[Booking] = []
    blocks = node_count // 40
    each = reservations // blocks
    for block in range(blocks):
        mask = ((1 << 40) - 1) << (1 + block * 40)
        time_s = -(block * 131 % 3600)
        for turn in range(each):
            length_s = (1 + (block + turn) % 3) * 1200
            found.append(Booking(len(found), f"r{len(found)}", time_s, time_s + length_s, mask))
            time_s += length_s
    return found


# ---------------------------------------------------------------------- the service


def _service() -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="igor-bench-") as name:
        place = Path(name)
        path = _prepared(place, SUBMISSIONS + 100)
        config = configuration.load(path)
        _fill(config, 0)
        with _serving(path, config):
            took_s = _storm(place, config)
            _prove(config)
        direct = _direct_rate(place, path)
    rate = SUBMISSIONS / took_s
    name = f"igor service: {USERS} users, {SUBMISSIONS} submissions"
    note = "each with its kernel and initrd; none lost, none twice"
    yield Result(name, rate, "/s", 0, 0, 200, higher_is_better=True, note=note)
    note = "against as many commands at once that write the store themselves"
    yield Result(f"{name}, batches", rate, "/s", direct, rate / direct, 3, higher_is_better=True, note=note)


@contextlib.contextmanager
def _serving(path: Path, config: Config) -> Generator[None]:
    service = subprocess.Popen([str(_IGOR), "-config", str(path), "serve"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not Path(config.socket).exists():
            if time.monotonic() > deadline or service.poll() is not None:
                raise RuntimeError("the service did not start")
            time.sleep(0.02)
        yield
    finally:
        service.terminate()
        service.wait(30)


def _storm(place: Path, config: Config) -> float:
    began = time.monotonic()
    each = SUBMISSIONS // USERS
    arguments = [config.socket, str(place), str(each)]
    clients = [
        subprocess.Popen([sys.executable, "-c", _CLIENT, *arguments, str(first), "8"]) for first in range(0, USERS, 8)
    ]
    failed = [one.wait(600) for one in clients]
    if any(failed):
        raise RuntimeError("a submission failed")
    return time.monotonic() - began


def client(arguments: Sequence[str]) -> None:
    """Some users of the storm, a thread each; run in processes of their own."""
    path, place, each, first, users = arguments[0], Path(arguments[1]), *map(int, arguments[2:5])
    failures: list[Exception] = []

    def one(user: int) -> None:
        door = SocketDoor(path)
        try:
            with (place / "kernel").open("rb") as kernel, (place / "initrd").open("rb") as initrd:
                for number in range(each):
                    request = Submit(f"u{user}-{number}", count=1, duration_s=_HOUR_S, kernel=0, initrd=1)
                    door.ask(request, (kernel.fileno(), initrd.fileno()))
        except Exception as error:  # noqa: BLE001 - told by the exit status
            failures.append(error)

    threads = [threading.Thread(target=one, args=(user,)) for user in range(first, first + users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _prove(config: Config) -> None:
    engine = open_engine(config)
    try:
        live = engine.store.live()
        held = [number for one in live for number in one.nodes]
        report = engine.ask(_ROOT, Check())
        assert isinstance(report, CheckReport)
        if len(live) != SUBMISSIONS or len(set(held)) != SUBMISSIONS or report.problems:
            raise RuntimeError(f"{len(live)} reservations on {len(set(held))} nodes; {report.problems[:3]}")
    finally:
        engine.store.close()


def _direct_rate(place: Path, path: Path) -> float:
    """Submissions a second of `USERS` commands at once, each a process that writes the store itself."""
    argv = [str(_IGOR), "-config", str(path), "sub", "-k", str(place / "kernel"), "-i", str(place / "initrd")]
    began = time.monotonic()
    many = [
        subprocess.Popen([*argv, "-n", "1", "-t", "1", "-r", f"d{number}"], stdout=subprocess.DEVNULL)
        for number in range(USERS)
    ]
    for one in many:
        if one.wait(300):
            raise RuntimeError("a submission failed")
    return USERS / (time.monotonic() - began)
