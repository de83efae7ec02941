"""Signals that end a program: one exception, once, and not while something is done as a whole."""

import signal
from collections.abc import Iterator

import pytest

from megatools.hostkit import signals


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {one: signal.getsignal(one) for one in signals.ENDING}
    for one in signals.ENDING:  # a shell's background job was told to ignore some
        signal.signal(one, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_signal_is_an_exception_and_the_next_one_nothing(number: signal.Signals) -> None:
    signals.install()
    with pytest.raises(signals.Stopped) as stopped:
        signal.raise_signal(number)
    assert stopped.value.exit_status == 128 + number
    signal.raise_signal(signal.SIGTERM)


def test_what_was_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.install()
    signal.raise_signal(signal.SIGHUP)


def test_a_signal_waits_for_the_end_of_what_is_done_as_a_whole() -> None:
    signals.install()
    done = []
    with pytest.raises(signals.Stopped), signals.held():
        signal.raise_signal(signal.SIGTERM)
        done.append("all of it")
    assert done == ["all of it"]
