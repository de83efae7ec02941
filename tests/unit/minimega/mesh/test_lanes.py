"""What is small is sent at once, until a peer may be stuck; what waits for one peer holds up no other."""

from __future__ import annotations

import socket
import threading

from megatools.minimega.mesh.lanes import Lanes
from megatools.minimega.mesh.speech import Speech

_PATIENCE_S = 30


def test_small_things_are_done_where_they_are_asked_for():
    lanes, where = Lanes(), []
    lanes.do(("kn1",), 100, lambda: where.append(threading.current_thread()))
    assert where == [threading.main_thread()]
    assert len(lanes) == 0


def test_large_things_and_all_behind_them_wait_in_their_lane_only():
    lanes, gate, done = Lanes(), threading.Event(), []
    finished = threading.Event()
    lanes.do(("kn1",), 1 << 20, lambda: gate.wait(_PATIENCE_S))
    lanes.do(("kn1",), 1, lambda: (done.append("behind"), finished.set()))
    lanes.do(("kn2",), 1, lambda: done.append("other"))
    assert done == ["other"]
    gate.set()
    assert finished.wait(_PATIENCE_S)
    assert done == ["other", "behind"]


def test_a_lane_takes_only_so_much_at_once():
    lanes, here = Lanes(), []
    ended = threading.Event()
    for _ in range(6):
        lanes.do(("kn1",), 15_000, lambda: here.append(threading.current_thread() is threading.main_thread()))
    lanes.do(("kn1",), 15_000, ended.set)
    assert ended.wait(_PATIENCE_S)
    assert here[:4] == [True] * 4
    assert False in here, "what no longer fits into the buffers of a connection would wait"


def test_a_lane_goes_on_after_a_failure_and_ends_when_idle(capsys):
    lanes, done = Lanes(idle_s=0.01), threading.Event()
    lanes.put("kn1", lambda: 1 / 0)
    lanes.put("kn1", done.set)
    assert done.wait(_PATIENCE_S)
    assert "ZeroDivisionError" in capsys.readouterr().err
    for thread in threading.enumerate():
        if thread.name == "kn1":
            thread.join(_PATIENCE_S)
    assert len(lanes) == 0
    again = threading.Event()
    lanes.put("kn1", again.set)
    assert again.wait(_PATIENCE_S)


def test_many_say_all_they_have_to_say_each_in_order():
    ours, theirs = socket.socketpair()
    speech, words = Speech(ours), [[f"{who}-{number};".encode() for number in range(2000)] for who in range(4)]
    speakers = [threading.Thread(target=lambda said=said: [speech.say(word) for word in said]) for said in words]
    heard = bytearray()
    for speaker in speakers:
        speaker.start()
    while len(heard) < sum(len(word) for said in words for word in said):
        heard += theirs.recv(1 << 16)
    for speaker in speakers:
        speaker.join(_PATIENCE_S)
    for who, said in enumerate(words):
        assert [word + b";" for word in bytes(heard).split(b";") if word.startswith(b"%d-" % who)] == said
    theirs.close()
    speech.say(b"nobody listens")
    ours.close()
