"""The work that follows from changes, with real programs: hooks as their owners, commands, mail, switches."""

from __future__ import annotations

import json
import pwd
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.files import Lock
from megatools.igor.model import nodes
from megatools.igor.model.config import Config, NoticeConfig, PowerConfig, SegmentConfig
from megatools.igor.model.host import Host
from megatools.igor.model.reservation import Details, Reservation, ReservationId, State, TaskKind
from megatools.igor.run import work
from megatools.igor.store.store import Store
from tests.support import netns

NOW = 1_000_000


class Site:
    """A store with one reservation of kn[1-3], and a clock that stands still."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = Config(tftproot=str(root), prefix="kn", start=1, end=8, rackwidth=4, rackheight=2)
        self.store = Store(self.config.state, root)
        self.now = NOW

    def reserve(self, name: str, chosen: list[int], owner: str = "root", vlan: int = 0) -> Reservation:
        details = Details(owner_uid=pwd.getpwnam(owner).pw_uid, mail="")
        made = Reservation(
            ReservationId(0),
            name,
            owner,
            "",
            nodes.of(chosen),
            NOW - 10,
            NOW + 3600,
            State.ACTIVE,
            vlan=vlan,
            details=details,
        )
        with self.store.change() as change:
            return change.add(made)

    def task(self, kind: TaskKind, reservation: Reservation, text: str = "") -> None:
        with self.store.change() as change:
            change.add_task(kind, reservation, due_s=NOW, text=text)

    def use(self, **parts: object) -> None:
        self.config = msgspec.structs.replace(self.config, **parts)

    def do(self) -> list[work.Done]:
        return work.do_due(self.store, self.config, clock=lambda: float(self.now))

    def left(self) -> list[TaskKind]:
        return [task.kind for task in self.store.due_tasks(NOW * 2)]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can reach."""
    with netns.base_directory() as directory:
        directory.chmod(0o755)
        yield directory


@pytest.fixture
def site(place: Path) -> Iterator[Site]:
    made = Site(place)
    yield made
    made.store.close()


def program(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.mark.root
def test_a_hook_runs_as_its_owner_and_knows_its_nodes(site: Site, place: Path) -> None:
    written = place / "out"
    written.mkdir(mode=0o777)
    written.chmod(0o777)
    hook = program(place / "hook", f"(id -u; id -G; env; ls -l /proc/self/fd | wc -l) >{written}/said; echo fine\n")
    site.task(TaskKind.HOOK_START, site.reserve("mine", [1, 2, 3], owner="nobody"), str(hook))
    assert [done.error for done in site.do()] == [""]
    said = (written / "said").read_text().splitlines()
    nobody = pwd.getpwnam("nobody")
    assert said[0] == str(nobody.pw_uid)
    assert said[1].split() == [str(nobody.pw_gid)]
    assert {"IGOR_EVENT=start", "IGOR_NODES=kn[1-3]", "IGOR_NODELIST=kn1,kn2,kn3", "USER=nobody"} <= set(said)
    assert int(said[-1]) <= 5, "descriptors leaked"
    assert (written / "said").stat().st_uid == nobody.pw_uid
    assert site.left() == []


@pytest.mark.root
def test_a_failing_hook_is_told_to_its_owner_and_not_run_again(site: Site, place: Path) -> None:
    told = place / "told"
    site.use(notices=NoticeConfig(command=f"sh -c 'cat >>{told}; echo for $0 >>{told}' {{}}"))
    hook = program(place / "hook", f"echo once >>{place}/runs; echo sad story >&2; exit 3\n")
    site.task(TaskKind.HOOK_END, site.reserve("mine", [1]), str(hook))
    first, second = site.do()
    assert first.task.kind is TaskKind.HOOK_END
    assert "status 3: sad story" in first.error
    assert second.task.kind is TaskKind.NOTICE
    assert not second.error
    assert 'the end hook of reservation "mine" failed' in told.read_text()
    assert told.read_text().endswith("for root\n")
    assert site.do() == []
    assert (place / "runs").read_text() == "once\n"


@pytest.mark.root
def test_a_name_that_changed_hands_runs_nothing(site: Site, place: Path) -> None:
    hook = program(place / "hook", f"touch {place}/ran\n")
    made = site.reserve("mine", [1])
    stolen = msgspec.structs.replace(made, owner="nobody")
    with site.store.change() as change:
        change.put(stolen)
    site.task(TaskKind.HOOK_START, stolen, str(hook))
    assert "belongs to uid" in site.do()[0].error
    assert not (place / "ran").exists()


def test_messages_that_fail_are_tried_again_later_and_given_up_in_the_end(site: Site, place: Path) -> None:
    site.use(notices=NoticeConfig(command=str(program(place / "mailer", "exit 1\n"))))
    site.task(TaskKind.NOTICE, site.reserve("mine", [1]), "it ends soon")
    for tries in range(1, work.MAX_TRIES):
        done = site.do()
        assert [one.again for one in done] == [True], tries
        assert site.do() == [], "not before its time"
        site.now += 30 * 2**tries
    assert [one.again for one in site.do()] == [False]
    assert site.left() == []


def test_mail_goes_through_sendmail(site: Site, place: Path) -> None:
    sent = place / "sent"
    sendmail = program(place / "sendmail", f'echo "$@" >{sent}; cat >>{sent}\n')
    site.use(notices=NoticeConfig(mail=True, sendmail=str(sendmail), domain="lab.example"))
    site.task(TaskKind.NOTICE, site.reserve("mine", [1]), 'reservation "mine" ends at 2026-11-23 18:30')
    assert [done.error for done in site.do()] == [""]
    text = sent.read_text()
    assert text.startswith("-i root@lab.example\n")
    assert 'Subject: igor: reservation "mine" ends at 2026-11-23 18:30\n' in text
    assert "\nTo: root@lab.example\n" in text


def test_power_is_cycled_for_the_nodes_that_are_still_held(site: Site, place: Path) -> None:
    site.use(
        power=PowerConfig(driver="command", on="false", off=f"sh -c 'echo $0 >>{place}/off' {{}}", cycle="", retries=0)
    )
    made = site.reserve("mine", [1, 2])
    site.task(TaskKind.POWER_CYCLE, made)
    with site.store.change() as change:
        change.put(msgspec.structs.replace(made, nodes=nodes.of([2])))
    first, told = site.do()
    assert '"kn2" could not be power-cycled: "false" exited with status 1' in first.error
    assert (place / "off").read_text() == "kn2\n"
    assert told.task.kind is TaskKind.NOTICE


def test_nodes_go_where_they_belong_now(site: Site, place: Path) -> None:
    log = place / "switch"
    join, leave = f"sh -c 'echo join $0 $1 >>{log}' {{port}} {{vlan}}", f"sh -c 'echo leave $0 >>{log}' {{port}}"
    site.use(segment=SegmentConfig(driver="command", join=join, leave=leave))
    with site.store.change() as change:
        for number in (1, 2, 3):
            change.set_host(Host(number, f"kn{number}", port=f"Et{number}"))
    old = site.reserve("old", [1, 2], vlan=100)
    site.task(TaskKind.SEGMENT_LEAVE, old)
    with site.store.change() as change:
        change.end(old, NOW)
    site.task(TaskKind.SEGMENT_JOIN, site.reserve("new", [2, 3], vlan=101))
    assert [done.error for done in site.do()] == ["", ""]
    lines = log.read_text().splitlines()
    assert "leave Et1" in lines
    assert "leave Et2" not in lines
    assert {"join Et2 101", "join Et3 101"} <= set(lines)


class _Switch(BaseHTTPRequestHandler):
    """An eAPI that remembers what it was told, and knows no Ethernet9."""

    commands: list[str] = []
    authorized: list[str | None] = []

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.authorized.append(self.headers["Authorization"])
        words = asked["params"]["cmds"]
        if any("Ethernet9" in word for word in words):
            reply = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": 1002, "message": "invalid command"}}
        else:
            self.commands.extend(words)
            reply = {"jsonrpc": "2.0", "id": asked["id"], "result": [{} for _ in words]}
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def switch() -> Iterator[str]:
    _Switch.commands, _Switch.authorized = [], []
    server = HTTPServer(("127.0.0.1", 0), _Switch)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_arista_switch_is_told_over_http(site: Site, place: Path, switch: str) -> None:
    secret = place / "secret"
    secret.write_text("word\n")
    secret.chmod(0o600)
    site.use(segment=SegmentConfig(driver="arista", url=switch, user="igor", password_file=str(secret)))
    with site.store.change() as change:
        change.set_host(Host(1, "kn1", port="Ethernet1"))
        change.set_host(Host(2, "kn2", port="Ethernet9"))
    site.task(TaskKind.SEGMENT_JOIN, site.reserve("good", [1], vlan=150))
    site.task(TaskKind.SEGMENT_JOIN, site.reserve("bad", [2], vlan=151))
    results = {done.task.name: done for done in site.do()}
    assert not results["good"].error
    assert _Switch.commands[2:] == [
        "vlan 150", "interface Ethernet1", "switchport mode dot1q-tunnel", "switchport access vlan 150"
    ]  # fmt: skip
    assert "invalid command (1002)" in results["bad"].error
    assert results["bad"].again
    assert _Switch.authorized[0] == "Basic aWdvcjp3b3Jk"


def test_one_process_works_at_a_time(site: Site) -> None:
    site.task(TaskKind.NOTICE, site.reserve("mine", [1]), "hello")
    other = Lock(site.store.directory / work.LOCK)
    assert other.acquire()
    assert site.do() == []
    other.release()
    assert len(site.do()) == 1
