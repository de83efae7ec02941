"""The command socket over a real socket: protocol, order, garbage, clients that leave, clients that do not read."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from megatools.hostkit.errors import AlreadyExists, InvalidInput
from megatools.minimega.lang.call import ActiveNamespace
from megatools.minimega.lang.protocol import MAX_REQUEST_BYTES
from megatools.minimega.lang.server import serve
from tests.integration.socket.daemon import Client, Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("daemon") / "minimega") as running:
        yield running


@pytest.fixture
def client(daemon):
    with Client(daemon.path) as connected:
        yield connected


def test_only_the_owner_may_connect(daemon):
    assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o600


def test_a_command_is_answered_with_one_reply(client):
    assert client.ask("say hi") == [
        {
            "Resp": [{"Host": "kn1", "Response": "hi", "Header": None, "Tabular": None, "Error": "", "Data": None}],
            "Rendered": "kn1: hi",
            "More": False,
            "Status": False,
        }
    ]
    assert client.text(".annotate false table") == "name | size\na    | 1\nb    | 2"


def test_blank_lines_and_comments_are_answered_with_nothing(client):
    for line in (" ", "# a comment"):
        assert client.ask(line) == [{"Resp": None, "Rendered": "", "More": False, "Status": False}]


def test_many_groups_are_many_replies(client):
    replies = client.ask("many 5")
    assert [reply["Rendered"] for reply in replies] == [f"kn1: {number}" for number in range(5)]
    assert [reply["More"] for reply in replies] == [True, True, True, True, False]


def test_errors_come_with_their_hint(client):
    (reply,) = client.ask("fail x")
    assert reply["Resp"][0]["Error"] == 'no "x"\nhint: try another'
    assert reply["Rendered"] == ""
    (reply,) = client.ask("sya hi")
    assert reply["Resp"][0]["Error"].startswith("invalid command: `sya hi`\nhint: ")


def test_suggestions(client):
    client.send(Suggest="sa")
    reply = client.reply()
    assert reply["Suggest"] == ["say "]
    client.send(Suggest="nothing like this ")
    assert "Suggest" not in client.reply()


def test_the_form_of_2013_is_answered_in_its_own_form(client):
    client.send(Command="say", Args=["hi"], TID=9)
    assert client.reply() == {"Response": "hi", "Error": "", "More": False, "TID": 9}
    client.send(Command="fail", Args=["x"], TID=1)
    assert client.reply() == {"Response": "", "Error": 'no "x"\nhint: try another', "More": False, "TID": 1}


def test_a_connection_begins_in_the_active_namespace(client):
    assert client.text("here") == "kn1: lab"


def test_pipelined_requests_are_answered_in_order(client):
    client.socket.sendall(b"".join(json.dumps({"Command": f"say w{number}"}).encode() for number in range(500)))
    assert [client.reply()["Rendered"] for _ in range(500)] == [f"kn1: w{number}" for number in range(500)]


def test_a_client_that_has_said_all_still_gets_its_answers(client):
    client.send(Command="say one")
    client.send(Command="say two")
    client.socket.shutdown(socket.SHUT_WR)
    assert [client.reply()["Rendered"] for _ in range(2)] == ["kn1: one", "kn1: two"]
    with pytest.raises(EOFError):
        client.reply()


def test_progress_goes_to_the_client_that_waits_and_to_no_other(daemon, client):
    with Client(daemon.path) as other:
        replies = client.ask("progress half")
        assert [(reply["Rendered"], reply["Status"]) for reply in replies] == [("half", True), ("kn1: done", False)]
        assert other.text("say x") == "kn1: x"


@pytest.mark.parametrize("garbage", [b"hello\n", b"[1]\n", b'{"Command": "a\n', b'{"Command": 1}', b"\0\xff\n", b"{}"])
def test_garbage_gets_one_error_and_the_connection_lives(client, garbage):
    client.socket.sendall(garbage)
    reply = client.reply()
    assert reply["Resp"][0]["Error"]
    assert not reply["More"]
    assert client.text("say still-there").endswith("still-there")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.binary(max_size=200) | st.sampled_from([b'{"Command":"say a"}', b'{"', b"\n", b"{", b"}"]), max_size=8)
)
def test_whatever_one_client_sends_every_reply_is_json_and_others_are_served(daemon, pieces):
    with Client(daemon.path) as wild, Client(daemon.path) as tame:
        for piece in pieces:
            wild.socket.sendall(piece)
        assert tame.text("say calm") == "kn1: calm"
        wild.socket.shutdown(socket.SHUT_WR)
        for line in wild.lines:
            assert set(json.loads(line)) >= {"Resp", "Rendered", "More", "Status"}


def test_a_request_that_is_too_long_is_refused_and_the_client_hears_why(client):
    chunk = b"a" * 65536
    client.socket.sendall(b'{"Command":"say ')
    for _ in range(MAX_REQUEST_BYTES // len(chunk) + 20):
        client.socket.sendall(chunk)
    client.socket.shutdown(socket.SHUT_WR)
    assert f"longer than {MAX_REQUEST_BYTES} bytes" in client.reply()["Resp"][0]["Error"]
    with pytest.raises(EOFError):
        client.reply()


def test_a_long_request_and_a_long_answer_pass(client):
    word = "w" * (MAX_REQUEST_BYTES // 4)
    assert client.text(f"say {word}") == f"kn1: {word}"


def test_a_client_that_leaves_does_not_stop_its_command(daemon):
    with Client(daemon.path) as leaving:
        leaving.send(Command="wait gone")
        assert leaving.reply() == {
            "Resp": [{"Host": "kn1", "Response": "begun", "Header": None, "Tabular": None, "Error": "", "Data": None}],
            "Rendered": "kn1: begun",
            "More": True,
            "Status": False,
        }
    daemon.wake(daemon.world.go_on)
    daemon.until(lambda: "gone" in daemon.world.ended)
    daemon.until(lambda: daemon.server.clients == 0)


def test_a_client_that_does_not_read_is_dropped_and_its_command_ends(tmp_path):
    with Daemon(tmp_path / "minimega", stall_s=0.3) as daemon, Client(daemon.path) as deaf:
        deaf.send(Command="big 50000000")
        deaf.send(Command="wait never")
        with Client(daemon.path) as other:
            assert other.text("say fine") == "kn1: fine"
            daemon.until(lambda: daemon.server.clients == 1)
        assert daemon.world.ended == []


def test_a_slow_reader_gets_everything(tmp_path):
    with Daemon(tmp_path / "minimega", stall_s=0.5) as daemon, Client(daemon.path) as slow:
        slow.send(Command="big 3000000")
        received = b""
        deadline = time.monotonic() + 60
        while not received.endswith(b"\n") and time.monotonic() < deadline:
            received += slow.socket.recv(100_000)
            time.sleep(0.05)  # this is the slowness under test, not a wait for something
        assert len(json.loads(received)["Rendered"]) == 3_000_000 + len("kn1: ")


@pytest.mark.parametrize("seconds", [2.5, pytest.param(30, marks=pytest.mark.full)])
def test_fifty_clients_at_once_get_their_own_answers_only(daemon, seconds):
    ends = time.monotonic() + seconds
    wrong: list[object] = []
    counts = [0] * 50

    def talk(number: int) -> None:
        with Client(daemon.path) as mine:
            while time.monotonic() < ends:
                word = f"c{number}-{counts[number]}"
                if mine.text(f"say {word}") != f"kn1: {word}":
                    wrong.append(word)
                replies = mine.ask("many 3")
                if [reply["Rendered"] for reply in replies if reply["Resp"]] != ["kn1: 0", "kn1: 1", "kn1: 2"]:
                    wrong.append(replies)
                counts[number] += 1

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert min(counts) > 0


def test_closing_waits_for_commands_then_hangs_up(tmp_path):
    path = tmp_path / "minimega"
    with Daemon(path) as daemon, Client(path) as busy, Client(path) as idle:
        busy.send(Command="wait last")
        assert busy.reply()["Rendered"] == "kn1: begun"
        settling = asyncio.run_coroutine_threadsafe(daemon.server.settle(grace_s=20), daemon.loop)
        daemon.until(lambda: not path.exists())
        assert not settling.done()
        daemon.wake(daemon.world.go_on)
        assert settling.result(20) is True
        assert busy.reply()["Rendered"] == "kn1: ended"
        daemon.stop()
        for client in (busy, idle):
            with pytest.raises(EOFError):
                client.reply()


def test_a_leftover_socket_is_replaced_and_other_files_are_not(tmp_path):
    path = tmp_path / "minimega"
    leftover = socket.socket(socket.AF_UNIX)
    leftover.bind(str(path))
    leftover.close()
    with Daemon(path), Client(path) as client:
        assert client.text("say new") == "kn1: new"
    assert not path.exists()
    path.write_text("precious")
    with pytest.raises(AlreadyExists, match="is no socket"):
        asyncio.run(serve(path, None, namespace=ActiveNamespace()))
    assert path.read_text() == "precious"


def test_a_path_that_no_socket_can_have_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="at most 107"):
        asyncio.run(serve(tmp_path / ("x" * 120), None, namespace=ActiveNamespace()))


def test_the_mask_of_the_process_is_as_before(daemon):
    async def mask() -> int:
        now = os.umask(0o022)
        os.umask(now)
        return now

    before = os.umask(0o022)
    os.umask(before)
    assert daemon.call(mask()) == before
