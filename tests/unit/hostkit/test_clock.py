"""The fake clock moves only when told to."""

from datetime import timedelta

from megatools.hostkit.clock import FakeClock, SystemClock


def test_fake_clock() -> None:
    clock = FakeClock()
    start = clock.now()
    assert clock.now() == start
    clock.advance(2.5)
    assert clock.now() - start == timedelta(seconds=2.5)
    assert clock.monotonic_s() == 2.5


def test_system_clock_is_aware_and_monotonic() -> None:
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.monotonic_s() <= clock.monotonic_s()
