"""Bad days: a race for a node, a service killed at work, a clock that jumps, a damaged configuration or store."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from megatools.hostkit.clock import FakeClock
from megatools.igor.api.engine import Engine, open_engine
from megatools.igor.api.requests import Check, CheckReport, Done, Submit, Tick
from megatools.igor.model.config import Config
from megatools.igor.model.person import Person
from tests.integration.igor.test_users import INITRD, KERNEL, STATE, give_images
from tests.support import netns
from tests.support.igor import Igor
from tests.support.machine import SOCKET, TFTPROOT, machine
from tests.support.requires import requires

CORRUPT = 10


@pytest.mark.root
@pytest.mark.timeout(600)
@requires("unshare", "nsenter", "setpriv")
def test_one_wins_a_race_for_a_node_and_kill_9_of_the_service_loses_nothing() -> None:
    with machine(goodfaith=False) as here:
        here.serve()
        users = ["alice", "bob", "carol"] * 2
        words = {user: give_images(here, user) for user in set(users)}

        def race(number: int) -> int:
            user = users[number]
            return here.igor(user, "sub", "-r", f"r{number}", *words[user], "-w", "kn7", check=False).returncode

        with ThreadPoolExecutor(len(users)) as pool:
            statuses = list(pool.map(race, range(len(users))))
        assert sorted(statuses) == [0] + [STATE] * (len(users) - 1)
        winner = f"r{statuses.index(0)}"
        assert f"label {winner}\n" in here.read(TFTPROOT / "pxelinux.cfg/0A010007")

        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(
                    here.igor, "alice", "sub", "-r", f"many{n}", *words["alice"], "-w", f"kn{100 + n}", check=False
                )
                for n in range(8)
            ]
            deadline = time.monotonic() + 60
            while "many" not in here.igor("root", "show").stdout:  # it is in the middle of them
                assert time.monotonic() < deadline
            os.kill(_service_pid(SOCKET), signal.SIGKILL)
            done = [one.result() for one in asked]
        here.servers.pop().wait()
        here.run("root", "rm", "-f", str(SOCKET))
        here.serve()
        live = here.igor("bob", "show").stdout
        for number, one in enumerate(done):
            if one.returncode == 0:
                assert f"many{number} " in live, "what was promised is kept"
        here.igor("root", "tick")
        assert here.igor("root", "check").stdout == "store and boot files agree\n"


def _service_pid(socket: Path) -> int:
    """The process that runs `igor serve` for this test: by its command line, and by whether it sees the socket."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[-2:-1] == [b"serve"] and (entry / "root" / socket.relative_to("/")).exists():
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("no igor service runs")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[tuple[Engine, FakeClock]]:
    clock = FakeClock()
    (tmp_path / "tftp").mkdir()
    config = Config(tftproot=str(tmp_path / "tftp"), prefix="kn", start=1, end=8, rackwidth=4, rackheight=2)
    made = open_engine(config, clock=clock)
    found = Engine(config, made.store, clock=clock, resolve=lambda name: f"10.0.0.{name[2:]}")
    yield found, clock
    made.store.close()


def test_a_clock_that_jumps_ends_nothing_and_repeats_nothing(engine: tuple[Engine, FakeClock], tmp_path: Path) -> None:
    igor, clock = engine
    root = Person(0, "root", admin=True)
    (tmp_path / "k").write_bytes(KERNEL)
    (tmp_path / "i").write_bytes(INITRD)
    files = [os.open(tmp_path / name, os.O_RDONLY) for name in ("k", "i")]
    try:
        igor.ask(root, Submit("now", nodes="kn1", kernel=0, initrd=1, duration_s=3600), files)
        later = igor.now_s() + 7200
        igor.ask(root, Submit("later", nodes="kn1", kernel=0, initrd=1, duration_s=3600, start_s=later), files)
    finally:
        for descriptor in files:
            os.close(descriptor)
    for days in (-365, 1, 3650, -3000, -700):
        clock.advance(timedelta(days=days).total_seconds())
        assert isinstance(igor.ask(root, Tick()), Done)
        report = igor.ask(root, Check())
        assert isinstance(report, CheckReport)
        assert report.problems == ()
        names = {one.name for one in igor.store.live()}
        assert names, "something is always reserved: an expired reservation stays until somebody needs the node"


@pytest.fixture
def igor() -> Iterator[Igor]:
    with netns.base_directory() as directory:
        made = Igor(directory)
        made.configure()
        made.run("setup")
        yield made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ('{ "tftproot": "/tftpboot/", ', "is not JSON"),
        ('["kn"]', "is not a JSON object"),
        ('{"tftproot": "/t", "prefix": "kn", "start": "one", "end": 5, "rackwidth": 1, "rackheight": 1}', "start"),
        ('{"tftproot": "/t", "prefix": "kn", "start": 9, "end": 5, "rackwidth": 1, "rackheight": 1}', "start is 9"),
        ('{"prefix": "kn", "start": 1, "end": 5, "rackwidth": 1, "rackheight": 1}', "tftproot"),
    ],
)
def test_a_damaged_configuration_is_one_clear_error(igor: Igor, text: str, said: str) -> None:
    igor.config.write_text(text)
    done = igor.run("show", check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert str(igor.config) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_store_is_one_clear_error(igor: Igor) -> None:
    store = igor.root / "igor/state/igor.db"
    assert store.exists()
    for leftover in store.parent.glob("igor.db-*"):
        leftover.unlink()
    store.write_bytes(b"this is no database, sorry" * 400)
    done = igor.run("show", check=False)
    assert done.returncode == CORRUPT, done.stderr
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr
