"""igor's service over its socket: many users at once, hostile clients, sockets passed and self-made, idle exit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidInput, InvalidState, MegaError
from megatools.igor.api.client import SocketDoor
from megatools.igor.api.engine import open_engine
from megatools.igor.api.requests import (
    Check,
    CheckReport,
    Delete,
    Done,
    GetHosts,
    HostList,
    Overview,
    SetHosts,
    Show,
    Submit,
)
from megatools.igor.model import config as configuration
from megatools.igor.model.host import Host
from tests.support import netns
from tests.support.images import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
_IGOR = str(REPOSITORY / ".venv/bin/igor")
_NODES = 64
# Becomes igor with a listening socket as descriptor 3, as systemd does it.
_ACTIVATE = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1] + ".new"); listener.listen(8)
os.rename(sys.argv[1] + ".new", sys.argv[1])
os.dup2(listener.fileno(), 3); os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Site:
    """A configuration, two files to boot, and a service when one was started."""

    def __init__(self, base: Path) -> None:
        self.base, self.conf, self.socket = base, base / "igor.conf", base / "igor.sock"
        (base / "tftpboot").mkdir()
        described = {
            "tftproot": f"{base}/tftpboot", "prefix": "kn", "start": 1, "end": _NODES, "rackwidth": 8, "rackheight": 8,
            "socket": str(self.socket), "probes": {"enabled": False},
        }  # fmt: skip
        self.conf.write_bytes(msgspec.json.encode(described))
        (base / "kernel").write_bytes(b"\0" * 0x1FE + b"\x55\xaa" + b"\0\0HdrS" + bytes(512))
        (base / "initrd").write_bytes(b"070701" + b"0" * 506)
        self.door = SocketDoor(str(self.socket), timeout_s=60)

    @contextmanager
    def serving(self, *words: str, argv: list[str] | None = None) -> Generator[subprocess.Popen[bytes]]:
        with (self.base / "log").open("ab") as log:
            service = subprocess.Popen([*(argv or []), _IGOR, "-config", str(self.conf), "serve", *words], stderr=log)
        try:
            self._until(lambda: self.socket.exists() or service.poll() is not None)
            assert service.poll() is None, (self.base / "log").read_text()
            yield service
        finally:
            service.terminate()
            service.wait(60)

    def _until(self, true: object) -> None:
        deadline = time.monotonic() + 60
        while not true():  # type: ignore[operator]
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def describe(self) -> None:
        hosts = tuple(Host(number, f"kn{number}", ip=f"10.0.0.{number}") for number in range(1, _NODES + 1))
        assert isinstance(self.door.ask(SetHosts(hosts)), HostList)

    def submit(self, request: Submit) -> Done:
        with (self.base / "kernel").open("rb") as kernel, (self.base / "initrd").open("rb") as initrd:
            answer = self.door.ask(request, (kernel.fileno(), initrd.fileno()))
        assert isinstance(answer, Done)
        return answer

    def agrees(self) -> None:
        report = self.door.ask(Check())
        assert isinstance(report, CheckReport)
        assert report.problems == ()

    def shown(self) -> Overview:
        answer = self.door.ask(Show())
        assert isinstance(answer, Overview)
        return answer


@pytest.fixture
def site() -> Generator[Site]:
    with netns.base_directory() as base:
        yield Site(base)


def test_many_at_once_lose_nothing_and_share_nothing(site: Site) -> None:
    refused: list[MegaError] = []

    def user(number: int) -> None:
        for turn in range(12):
            try:
                site.submit(Submit(f"u{number}-{turn}", count=1, duration_s=3600, kernel=0, initrd=1))
            except InvalidState as error:
                refused.append(error)

    with site.serving():
        site.describe()
        users = [threading.Thread(target=user, args=(number,)) for number in range(8)]
        for one in users:
            one.start()
        for one in users:
            one.join(120)
        live = site.shown().reservations
        assert len(live) == _NODES, "every node was given away"
        assert len(refused) == 8 * 12 - _NODES, "and everybody else was told"
        assert len({number for one in live for number in one.nodes}) == _NODES
        site.agrees()


def test_one_bad_request_of_a_batch_harms_no_other(site: Site) -> None:
    """All wait for the same commit; each gets its own answer."""
    answers: dict[int, object] = {}

    def user(number: int) -> None:
        name = "same" if number % 2 else f"own{number}"
        try:
            answers[number] = site.submit(Submit(name, count=1, duration_s=3600, kernel=0, initrd=1))
        except MegaError as error:
            answers[number] = error

    with site.serving():
        site.describe()
        users = [threading.Thread(target=user, args=(number,)) for number in range(16)]
        for one in users:
            one.start()
        for one in users:
            one.join(120)
        odd = [answers[number] for number in range(1, 16, 2)]
        assert sum(isinstance(one, Done) for one in odd) == 1
        assert sum(isinstance(one, AlreadyExists) for one in odd) == 7
        assert all(isinstance(answers[number], Done) for number in range(0, 16, 2))
        assert len(site.shown().reservations) == 9
        site.agrees()


def _raw(site: Site, data: bytes, files: tuple[int, ...] = ()) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(site.socket))
        if files:
            socket.send_fds(connection, [data], list(files))
        else:
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
    return reply


@pytest.mark.parametrize(
    "data",
    [
        b"\n",
        b"nonsense\n",
        b"{}\n",
        b'{"op":"rule"}\n',
        b'{"op":"show","surprise":1}\n',
        b'{"op":"delete"}\n',
        b'{"op":"show"}',
    ],
)
def test_nonsense_is_answered_and_forgotten(site: Site, data: bytes) -> None:
    with site.serving():
        assert b'"error":"' in _raw(site, data)
        assert site.shown().reservations == ()


def test_nobody_can_speak_for_another(site: Site) -> None:
    with site.serving():
        assert b'"error":"InvalidInput"' in _raw(site, b'{"op":"delete","name":"x","person":"root"}\n')


def test_descriptors_do_not_pile_up(site: Site) -> None:
    with site.serving() as service:
        site.describe()
        before = len(os.listdir(f"/proc/{service.pid}/fd"))
        with (site.base / "kernel").open("rb") as kernel:
            for _ in range(30):
                _raw(site, b"nonsense\n", (kernel.fileno(), kernel.fileno()))
                with pytest.raises(InvalidInput):
                    site.door.ask(Submit("x", nodes="kn1", kernel=0, initrd=1), (kernel.fileno(), kernel.fileno()))
        assert len(os.listdir(f"/proc/{service.pid}/fd")) <= before + 3
        assert list((site.base / "tftpboot/igor/images").iterdir()) == []


def test_it_exits_when_idle_and_a_passed_socket_starts_it_again(site: Site) -> None:
    argv = [sys.executable, "-c", _ACTIVATE, str(site.socket)]
    with site.serving("--idle-exit", "1", argv=argv) as service:
        site.describe()
        site.submit(Submit("kept", nodes="kn1", kernel=0, initrd=1))
        assert service.wait(60) == 0, (site.base / "log").read_text()
    assert site.socket.exists(), "the socket belongs to who passed it"
    site.socket.unlink()
    with site.serving("--idle-exit", "1", argv=argv) as service:
        assert [one.name for one in site.shown().reservations] == ["kept"]
        assert service.wait(60) == 0


def test_a_dead_services_socket_is_taken_over_and_a_living_ones_is_not(site: Site) -> None:
    with site.serving() as service:
        second = subprocess.run(
            [_IGOR, "-config", str(site.conf), "serve"], capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == 7
        assert "listens at" in second.stderr
        service.kill()
        service.wait(60)
        assert site.socket.exists()
    with site.serving():
        deadline = time.monotonic() + 30
        while True:
            try:
                found = site.door.ask(GetHosts("kn1"))
                break
            except MegaError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert isinstance(found, HostList)


def test_commands_and_service_write_one_store(site: Site) -> None:
    """root's own commands need no service, and do not disturb it."""
    with site.serving():
        site.describe()
        site.submit(Submit("served", nodes="kn[1-4]", kernel=0, initrd=1))
        engine = open_engine(configuration.load(site.conf))
        try:
            assert [one.name for one in engine.store.live()] == ["served"]
        finally:
            engine.store.close()
        words = [
            "sub",
            "-r",
            "direct",
            "-k",
            str(site.base / "kernel"),
            "-i",
            str(site.base / "initrd"),
            "-w",
            "kn[5-8]",
        ]
        subprocess.run([_IGOR, "-config", str(site.conf), *words], check=True, capture_output=True, timeout=60)
        with pytest.raises(InvalidState, match='held by "direct"'):
            site.submit(Submit("late", nodes="kn8", kernel=0, initrd=1))
        site.door.ask(Delete("direct"))
        assert {one.name for one in site.shown().reservations} == {"served"}
        site.agrees()
