"""Clients of the command socket: fifty at once without a wrong, lost or crossed reply, and every command there is."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.lab import Lab
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "ovs-vswitchd", "dnsmasq")]

CLIENTS = 50


class Client:
    """A client in a namespace of its own that knows what each answer must be."""

    def __init__(self, daemon: Daemon, number: int) -> None:
        self.number = number
        self.asked = 0
        self.problems: list[str] = []
        self._chance = random.Random(number)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(120)
        self._socket.connect(str(daemon.socket))
        self._lines = self._socket.makefile("rb")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()

    def ask(self, *lines: str) -> list[list[dict[str, object]]]:
        """Send lines together and read as many answers; each is a list of responses."""
        self._socket.sendall(b"".join(json.dumps({"Command": line}).encode() + b"\n" for line in lines))
        return [self._answer() for _ in lines]

    def _answer(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        while True:
            text = self._lines.readline()
            assert text, f"client {self.number}: the daemon hung up"
            reply = json.loads(text)
            if reply["Status"]:
                continue
            found += reply["Resp"] or ()
            if not reply["More"]:
                return found

    def work(self, end: float) -> None:
        """Ask and compare until the time is up; what differs is a problem."""
        try:
            self.ask(f"namespace ns{self.number}")
            while time.monotonic() < end:
                self._chance.choice([self.echo, self.configure, self.tag, self.launch, self.fail])()
        except (AssertionError, OSError, ValueError) as error:
            self.problems.append(f"client {self.number}: {error!r}")

    def expect(self, got: object, wanted: object) -> None:
        self.asked += 1
        if got != wanted:
            self.problems.append(f"client {self.number}: {got!r} instead of {wanted!r}")

    def word(self) -> str:
        return f"c{self.number}-{self._chance.randrange(10**12)}"

    def echo(self) -> None:
        words = [self.word() for _ in range(self._chance.randint(1, 5))]
        answers = self.ask(*(f"echo {word}" for word in words))
        self.expect([answer[0]["Response"] for answer in answers], words)

    def configure(self) -> None:
        size = str(self._chance.randint(16, 4000))
        _, answer, namespaces = self.ask(f"vm config memory {size}", "vm config memory", "namespace")
        self.expect(answer[0]["Response"], size)
        table = namespaces[0]["Tabular"]
        assert isinstance(table, list)
        self.expect([row[0] for row in table if row[2] == "true"], [f"ns{self.number}"])

    def tag(self) -> None:
        key, value = self.word(), self.word()
        _, answer = self.ask(f"vm config tags {key} {value}", f"vm config tags {key}")
        self.expect(answer[0]["Response"], value)
        self.ask("clear vm config tags all")

    def launch(self) -> None:
        """One VM at most for each client at a time, and only sometimes: two processors do the work."""
        if self._chance.random() > 0.02:
            self.echo()
            return
        name = self.word()
        self.ask("vm config memory 16", "vm config vga none")
        (launched, listed) = self.ask(f"vm launch kvm {name}", ".columns name,state vm info")
        self.expect((launched[0]["Error"], listed[0]["Tabular"]), ("", [[name, "BUILDING"]]))
        killed, flushed, empty = self.ask(f"vm kill {name}", "vm flush", "vm info")
        self.expect([killed[0]["Error"], flushed[0]["Error"], empty[0]["Tabular"] or []], ["", "", []])

    def fail(self) -> None:
        name = self.word()
        (answer,) = self.ask(f"vm start {name}")
        self.expect(str(answer[0]["Error"]).partition("\n")[0], f"vm not found: {name}")


@contextmanager
def clients(daemon: Daemon, count: int) -> Iterator[list[Client]]:
    made = [Client(daemon, number) for number in range(count)]
    try:
        yield made
    finally:
        for client in made:
            client.close()


def run_clients(daemon: Daemon, seconds: float) -> None:
    daemon.start()
    with clients(daemon, CLIENTS) as all_clients:
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=client.work, args=(end,)) for client in all_clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [problem for client in all_clients for problem in client.problems] == []
        assert all(client.asked for client in all_clients)
    assert "Traceback" not in daemon.log_text()
    assert daemon.qemus() == []


def test_fifty_clients_at_once(lab_daemon: tuple[Daemon, Lab]) -> None:
    run_clients(lab_daemon[0], 4)


@pytest.mark.full
@pytest.mark.timeout(180)
def test_fifty_clients_for_thirty_seconds(lab_daemon: tuple[Daemon, Lab]) -> None:
    run_clients(lab_daemon[0], 30)


ENDING = ("quit", "exit", "nuke")
STRING, LITERAL, COMMAND, CHOICE, LIST = 8, 2, 4, 16, 32
WORDS = {
    "vlan": "7",
    "path": "/tmp/no-such-path",
    "ip": "10.3.0.1/24",
    "command": "true",
    "delay": "1",
    "name or count": "a",
    "filter": "name=a",
}


def lines_of(pattern: list[dict[str, object]]) -> Iterator[str]:
    """A line for every choice of a pattern, with plausible words."""
    lines = [""]
    for item in pattern:
        kind = item["type"]
        assert isinstance(kind, int)
        if kind & LITERAL:
            words = [str(item["text"])]
        elif kind & CHOICE:
            options = item["options"]
            assert isinstance(options, list)
            words = list(map(str, options))
        elif kind & COMMAND:
            words = ["version"]
        else:
            words = [WORDS.get(str(item["text"]), WORDS.get(str(item["key"]), "a"))]
        lines = [f"{line} {word}".strip() for line in lines for word in words]
    yield from lines


def every_line() -> list[str]:
    """What `minimega -cli` says there is, as lines to type."""
    program = [sys.executable, "-m", "megatools.minimega.app.main", "-cli"]
    api = json.loads(subprocess.run(program, capture_output=True, check=True, timeout=60).stdout)
    return [line for command in api for pattern in command["parsed_patterns"] for line in lines_of(pattern)]


def test_every_command_answers_over_the_socket(
    lab_daemon: tuple[Daemon, Lab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it says, it is an answer of its own: no internal error, no traceback, no lost connection."""
    monkeypatch.chdir(tmp_path)  # some write a file called "a"
    daemon, _ = lab_daemon
    daemon.start()
    lines = every_line()
    assert len(lines) > 200
    before = ("vm config vga none", "vm config memory 32", "vm config networks 7", "vm launch kvm a", "vm start a")
    answered = 0
    for line in (*before, *lines):
        if line.split()[0] in ENDING:
            continue
        for response in daemon.answers(line):
            assert "internal error" not in str(response["Error"]), line
            assert "invalid command" not in str(response["Error"]), line
        answered += 1
    assert answered > 300
    assert "Traceback" not in daemon.log_text()
    daemon.ask("clear all")
    for line in ("quit a", "nuke x"):
        assert "a" in daemon.refused(line)
    assert daemon.quit() == 0
    assert daemon.qemus() == []
