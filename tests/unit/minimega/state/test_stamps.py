"""Stamps only grow, whatever the clocks do, and one wrong clock does not drag the others along."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.minimega.state.stamps import FAR_AHEAD_MS, Stamp, StampClock


@given(st.lists(st.integers(0, 10 * FAR_AHEAD_MS), min_size=2))
def test_stamps_of_a_node_are_never_given_twice_for_one_record(times: list[int]) -> None:
    now = iter(times)
    clock = StampClock("kn1", lambda: next(now))
    last = Stamp(0, 0, "")
    for _ in times:
        stamp = clock.next(last)
        assert stamp > last
        last = stamp


def test_a_clock_follows_those_ahead_but_not_far_ahead(caplog: pytest.LogCaptureFixture) -> None:
    clock = StampClock("kn1", lambda: 1000, lambda: 0)
    clock.saw(Stamp(2000, 7, "kn2"))
    assert clock.next() == Stamp(2000, 8, "kn1")
    far = Stamp(1000 + FAR_AHEAD_MS + 1, 0, "kn3")
    with caplog.at_level(logging.ERROR):
        clock.saw(far)
        clock.saw(far)
    assert len(caplog.records) == 1
    assert 'node "kn3" wrote a record 1440 minutes ahead' in caplog.text
    assert clock.next() == Stamp(2000, 9, "kn1")
    assert clock.next(far) == Stamp(far.time_ms, 1, "kn1")


def test_a_clock_set_back_by_days_writes_todays_stamps_again() -> None:
    now = [100 * FAR_AHEAD_MS]
    clock = StampClock("kn1", lambda: now[0])
    clock.next()
    now[0] = FAR_AHEAD_MS
    assert [clock.next(), clock.next()] == [Stamp(FAR_AHEAD_MS, 0, "kn1"), Stamp(FAR_AHEAD_MS, 1, "kn1")]


def test_a_clock_keeps_up_with_one_that_is_ahead_until_its_own_has_caught_up() -> None:
    now, passed = [1_000_000], [50]
    clock = StampClock("kn1", lambda: now[0], lambda: passed[0])
    clock.saw(Stamp(4_600_000, 0, "kn2"))  # an hour ahead
    now[0], passed[0] = now[0] + 700, passed[0] + 700
    assert clock.next() == Stamp(4_600_700, 0, "kn1"), "what is written here now is later than what was there meanwhile"
    now[0] += 3_600_000  # set right
    assert clock.next() == Stamp(4_600_700, 1, "kn1"), "and is not ahead by another hour"
    now[0], passed[0] = now[0] + 5, passed[0] + 5
    assert clock.next() == Stamp(4_600_705, 0, "kn1")


def test_a_clock_that_was_set_back_far_leaves_the_lead() -> None:
    now = [10 * FAR_AHEAD_MS]
    clock = StampClock("kn1", lambda: now[0], lambda: 0)
    clock.saw(Stamp(now[0] + 1000, 0, "kn2"))
    now[0] = FAR_AHEAD_MS
    assert clock.next() == Stamp(FAR_AHEAD_MS, 0, "kn1")
