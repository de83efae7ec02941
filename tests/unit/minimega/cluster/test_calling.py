"""Who has been silent for too long, and who only seems so."""

from __future__ import annotations

import pytest

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.cluster.calling import Patience, Talks, _said
from megatools.minimega.mesh.mesh import Arrival, Ending
from megatools.minimega.state.stamps import Stamp, StampClock

SIGN, SAID = b"\0", bytes(16)


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now(self) -> float:
        return self.at_s


def _talks(silence_s: float = 10.0) -> tuple[Talks, Hands]:
    hands = Hands()
    return Talks(["kn1", "kn2"], silence_s, hands.now), hands


def test_signs_keep_a_host_alive_and_silence_ends_it() -> None:
    talks, hands = _talks()
    hands.at_s += 6
    assert list(talks.take(Arrival("kn1", SIGN))) == []
    assert talks.left_s() == 4
    hands.at_s += 4
    assert [(end.host, end.ending) for end in talks.silent()] == [("kn2", Ending.TIMED_OUT)]
    assert talks.left_s() == 6
    hands.at_s += 6
    assert [end.host for end in talks.silent()] == ["kn1"]
    assert not talks.waiting


def test_pieces_become_one_message() -> None:
    talks, _ = _talks()
    assert list(talks.take(Arrival("kn1", b"\1ab"))) == []
    assert list(talks.take(Arrival("kn2", b"\2" + SAID + b"other"))) == [Arrival("kn2", b"other")]
    assert list(talks.take(Arrival("kn1", b"\1cd"))) == []
    assert list(talks.take(Arrival("kn1", b"\2" + SAID + b"e"))) == [Arrival("kn1", b"abcde")]
    assert list(talks.take(Arrival("kn1", b"\2" + SAID + b"next"))) == [Arrival("kn1", b"next")]


def test_a_host_ends_once() -> None:
    talks, hands = _talks()
    assert [end.host for end in talks.take(Arrival("kn1", ending=Ending.DONE))] == ["kn1"]
    assert list(talks.take(Arrival("kn1", b"\2" + SAID + b"more"))) == []
    hands.at_s += 10
    assert [end.host for end in talks.silent()] == ["kn2"]
    assert list(talks.all_lost()) == []


def test_a_process_that_was_stopped_blames_nobody() -> None:
    talks, hands = _talks()
    hands.at_s += 60  # nothing could be read meanwhile
    assert list(talks.silent()) == []
    assert talks.left_s() == 10
    assert list(talks.take(Arrival("kn1", b"\2" + SAID + b"late"))) == [Arrival("kn1", b"late")]
    hands.at_s += 10
    assert [end.host for end in talks.silent()] == ["kn1", "kn2"]


def test_a_reader_that_stops_blames_nobody() -> None:
    talks, hands = _talks()
    hands.at_s += 30
    talks.stalled(30)
    assert talks.left_s() == 10


def test_a_mesh_with_nothing_more_to_say_has_lost_the_rest() -> None:
    talks, hands = _talks()
    hands.at_s += 2.5
    assert [(end.host, end.ending, end.error) for end in talks.all_lost()] == [
        ("kn1", Ending.LOST, 'node "kn1" was lost after 2.5 s'),
        ("kn2", Ending.LOST, 'node "kn2" was lost after 2.5 s'),
    ]


def test_no_limit() -> None:
    talks, _ = _talks(0)
    assert talks.left_s() is None


def test_a_limit_between_two_signs_is_refused() -> None:
    patience = Patience(10)
    with pytest.raises(InvalidInput, match="too short"):
        patience.silence_s = 0.7
    with pytest.raises(InvalidInput, match="too short"):
        patience.silence_s = -1
    patience.silence_s = 1
    patience.silence_s = 0
    assert (patience.silence_s, patience.default_s) == (0, 10)


def test_what_was_answered_is_earlier_than_what_is_done_next() -> None:
    clock = StampClock("kn0", lambda: 1000, lambda: 0)
    talks = Talks(["kn1"], 10, Hands().now, clock)
    list(talks.take(Arrival("kn1", b"\2" + _said(Stamp(7000, 3, "kn1")) + b"launched")))
    assert clock.next() > Stamp(7000, 3, "kn1")
