"""An engine over a real store in a temporary directory and a clock that moves when told to, for the engine's tests."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from megatools.hostkit.clock import FakeClock
from megatools.igor.api.engine import Engine
from megatools.igor.api.requests import AnyRequest, Check, CheckReport, Done, Overview, Show, Submit
from megatools.igor.model.config import Config, parse
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Reservation
from megatools.igor.store.store import Store

ALICE = Person(1000, "alice", frozenset({"users", "physics"}))
BOB = Person(1001, "bob", frozenset({"users"}))
ROOT = Person(0, "root", frozenset(), admin=True)
HOUR = 3600


class Igor:
    """An engine, its clock and two files to boot."""

    def __init__(self, place: Path, extra: str = "") -> None:
        self.root = place / "tftpboot"
        self.root.mkdir()
        self.clock = FakeClock(datetime(2026, 11, 23, 12, tzinfo=UTC))
        self.config = self.configured(extra)
        self.store = Store(self.config.state, self.root)
        self.engine = Engine(self.config, self.store, clock=self.clock, resolve=address_of)
        (place / "kernel").write_bytes(b"\0" * 0x1FE + b"\x55\xaa" + b"\0\0HdrS" + bytes(512))
        (place / "initrd").write_bytes(b"070701" + b"0" * 506)
        self.files = [os.open(place / name, os.O_RDONLY) for name in ("kernel", "initrd")]

    def configured(self, extra: str) -> Config:
        more = f", {extra}" if extra else ""
        return parse(
            f'{{"tftproot": "{self.root}", "prefix": "kn", "start": 1, "end": 20, "rackwidth": 4, "rackheight": 5,'
            f' "goodfaith": false, "probes": {{"enabled": false}}{more}}}'
        )

    def ask(self, request: AnyRequest, person: Person = ALICE) -> Done:
        answer = self.engine.ask(person, request, self.files)
        assert isinstance(answer, Done)
        return answer

    def sub(self, name: str, person: Person = ALICE, **more: object) -> Reservation:
        request = msgspec.structs.replace(Submit(name, kernel=0, initrd=1, duration_s=HOUR), **more)
        return self.ask(request, person).reservations[0]

    def live(self) -> dict[str, Reservation]:
        answer = self.engine.ask(ROOT, Show())
        assert isinstance(answer, Overview)
        return {one.name: one for one in answer.reservations}

    def agrees(self) -> None:
        report = self.engine.ask(ROOT, Check())
        assert isinstance(report, CheckReport)
        assert report.problems == ()

    def booted(self) -> set[str]:
        return {path.name for path in (self.root / "pxelinux.cfg").iterdir() if path.is_file()}

    def told(self) -> list[tuple[str, str]]:
        later = self.engine.now_s() + 10**9
        return [(task.person, task.text) for task in self.store.due_tasks(later, 1000)]


def address_of(name: str) -> str:
    return f"10.0.0.{name.removeprefix('kn')}" if name.startswith("kn") else ""
