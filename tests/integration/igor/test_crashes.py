"""kill -9 between any two steps of a change: afterwards store and boot files agree, and nothing is lost.

Every change is run once to count its steps, then again in a child process for each of them, which kills itself there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from megatools.igor.api.engine import Engine
from megatools.igor.api.requests import (
    AnyRequest,
    ChangeNodes,
    Check,
    CheckReport,
    Delete,
    Edit,
    Extend,
    Submit,
    Tick,
)
from megatools.igor.boot.content import sweep
from megatools.igor.model.config import Config
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Reservation
from megatools.igor.store.store import Store

ROOT = Person(0, "root", admin=True)
KERNEL_A, KERNEL_B = (b"\0" * 0x202 + b"HdrS" + mark * 5000 for mark in (b"a", b"b"))
INITRD = b"\x28\xb5\x2f\xfd" + b"i" * 5000
FEWEST_STEPS = 4
Step = Callable[[str], None]


def nothing(_: str) -> None:
    """No step is special."""


@dataclass
class Site:
    """A TFTP root and its store, made anew for each try."""

    root: Path
    sources: Path

    @property
    def config(self) -> Config:
        return Config(tftproot=str(self.root), prefix="kn", start=1, end=8, rackwidth=4, rackheight=2)

    def fresh(self) -> None:
        """Two reservations: old has kn[1-2] and boots kernel A, other has kn[5-6] and boots B."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(mode=0o755)
        self.ask(Submit("old", nodes="kn[1-2]", kernel=0, initrd=2, duration_s=3600))
        self.ask(Submit("other", nodes="kn[5-6]", kernel=1, initrd=2, duration_s=3600))

    def ask(self, request: AnyRequest, step: Step = nothing) -> object:
        """Answer a request as a process of its own would: with a store opened for it."""
        store = Store(self.config.state, self.root, step=step)
        files = [os.open(self.sources / name, os.O_RDONLY) for name in ("a", "b", "i")]
        try:
            return Engine(self.config, store, resolve=resolve).ask(ROOT, request, files)
        finally:
            store.close()
            for descriptor in files:
                os.close(descriptor)

    def live(self) -> dict[str, Reservation]:
        store = Store(self.config.state, self.root)
        try:
            return {one.name: one for one in store.live()}
        finally:
            store.close()

    def boot_of(self, number: int) -> str:
        """The reservation a node boots; empty when it boots the default."""
        path = self.root / "pxelinux.cfg" / f"0A0000{number:02X}"
        return path.read_text().split()[1] if path.exists() else ""


def resolve(name: str) -> str:
    """kn5 is 10.0.0.5."""
    return f"10.0.0.{name.removeprefix('kn')}"


REQUESTS: dict[str, AnyRequest] = {
    "sub": Submit("new", nodes="kn[3-4]", kernel=0, initrd=2, duration_s=3600),
    "sub with a new kernel": Submit("new", nodes="kn[3-4]", kernel=1, initrd=2, args="x=1", duration_s=3600),
    "del": Delete("old"),
    "extend": Extend("old", by_s=7200),
    "edit": Edit("old", kernel=1),
    "rename": Edit("old", new_name="renamed"),
    "add and drop": ChangeNodes("old", add="kn[7-8]", drop="kn1"),
}


@pytest.fixture
def site() -> Iterator[Site]:
    """In memory where there is such a place: what a killed process wrote does not need a disk to last."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="mt-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        place = Path(name)
        for source, body in (("a", KERNEL_A), ("b", KERNEL_B), ("i", INITRD)):
            (place / source).write_bytes(body)
        yield Site(place / "tftp", place)


def killed_at(site: Site, request: AnyRequest, number: int) -> str:
    """Run a request in a child that kills itself at a step; returns the step's name."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def step(word: str) -> None:
            nonlocal count
            count += 1
            if count == number:
                os.write(writing, word.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            site.ask(request, step)
        finally:
            os._exit(3)
    os.close(writing)
    word = os.read(reading, 1000).decode()
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"step {number} was not reached"
    return word


def agree(site: Site) -> None:
    """What the store says is what nodes boot, every file is whole, nothing is left over."""
    report = site.ask(Check())
    assert isinstance(report, CheckReport)
    assert report.problems == ()
    boots = {number: one.name for one in site.live().values() for number in one.nodes}
    assert {number: site.boot_of(number) for number in range(1, 9)} == {n: boots.get(n, "") for n in range(1, 9)}
    for one in site.live().values():
        for content, name in ((one.kernel, "kernel"), (one.initrd, "initrd")):
            served = (site.root / "igor" / f"{one.name}-{name}").read_bytes()
            assert hashlib.sha256(served).hexdigest() == content
    sweep(site.config, older_than_s=-1)
    kept = {path.name for path in (site.root / "igor" / "images").iterdir()}
    assert kept == {content for one in site.live().values() for content in (one.kernel, one.initrd)}
    assert list((site.root / "igor" / ".staged").glob("*")) == []


@pytest.mark.parametrize("name", REQUESTS)
def test_killed_between_any_two_steps(site: Site, name: str) -> None:
    request = REQUESTS[name]
    site.fresh()
    before = site.live()
    steps: list[str] = []
    site.ask(request, steps.append)
    after = {key: (one.nodes, one.end_s > one.start_s + 3600, one.kernel) for key, one in site.live().items()}
    agree(site)
    assert len(steps) >= FEWEST_STEPS
    committed = False
    for number in range(1, len(steps) + 1):
        site.fresh()
        word = killed_at(site, request, number)
        assert word == steps[number - 1]
        committed = committed or word == "committed"
        found = {key: (one.nodes, one.end_s > one.start_s + 3600, one.kernel) for key, one in site.live().items()}
        was = {key: (one.nodes, False, one.kernel) for key, one in before.items()}
        assert found == (after if committed else was), f"killed at step {number}, {word}"
        site.ask(Tick())  # any change does: it finds and finishes what was left
        assert site.live().keys() == (after if committed else was).keys()
        agree(site)
    assert committed
