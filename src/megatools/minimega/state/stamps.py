"""When shared records were written: stamps that order all writes of a cluster, and the clock that makes them.

Used by `state.shared`, and by whoever needs numbers that only grow (ballots). A stamp is a hybrid logical clock
(Kulkarni et al. 2014): wall time, never behind a stamp seen, a counter, and the node's name to break ties. Once a node
has seen a stamp ahead of its own clock it keeps up with that clock: what is written anywhere later counts as later,
also where nobody heard of the earlier one, but for the time a message takes. A node whose clock is far ahead cannot
drag the others along: stamps more than `FAR_AHEAD_MS` from now move no clock, they are only outdone where they stand
(`next(beyond=...)`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec

_log = logging.getLogger(__name__)
FAR_AHEAD_MS = 24 * 3_600_000  # clocks are hours off (time zones), or anywhere
_REPEAT_MS = 3_600_000
_LAST_MS = 253_402_300_800_000  # the year 10000
_LAST_COUNT = 1 << 53


class Stamp(msgspec.Struct, frozen=True, order=True, array_like=True):
    """When an entry was written; `time_ms` since the epoch."""

    time_ms: int
    count: int
    node: str

    @property
    def sane(self) -> bool:
        """Whether a clock can have made this."""
        return 0 <= self.time_ms < _LAST_MS and 0 <= self.count < _LAST_COUNT


ZERO = Stamp(0, 0, "")


def wall_ms() -> int:
    """The time of day in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def passed_ms() -> int:
    """Milliseconds since some moment, whatever is done to the time of day."""
    return time.monotonic_ns() // 1_000_000


class StampClock:
    """Makes this node's stamps."""

    def __init__(
        self, node: str, now_ms: Callable[[], int] = wall_ms, passed_ms: Callable[[], int] = passed_ms
    ) -> None:
        self.node = node
        self.now_ms = now_ms
        self._passed_ms = passed_ms
        self._lead_ms: int | None = None  # the clock that is furthest ahead, less what had passed here
        self._latest = Stamp(0, 0, node)
        self._complained: dict[str, int] = {}

    def next(self, beyond: Stamp = ZERO) -> Stamp:
        """A stamp later than all this clock made or saw, except those far ahead, and later than `beyond`."""
        now = self._now_ms()
        latest = self._latest
        if now > latest.time_ms or latest.time_ms > now + FAR_AHEAD_MS:  # the latter: the clock here was set back
            stamp = Stamp(now, 0, self.node)
        else:
            stamp = Stamp(latest.time_ms, latest.count + 1, self.node)
        self._latest = stamp
        return stamp if stamp > beyond else Stamp(beyond.time_ms, beyond.count + 1, self.node)

    def saw(self, stamp: Stamp) -> None:
        """Take note of a stamp, whoever made it."""
        now = self.now_ms()
        if stamp.time_ms > now + FAR_AHEAD_MS:
            self._complain(stamp, now)
            return
        lead_ms = stamp.time_ms - self._passed_ms()
        if self._lead_ms is None or lead_ms > self._lead_ms:
            self._lead_ms = lead_ms
        if (stamp.time_ms, stamp.count) > (self._latest.time_ms, self._latest.count):
            self._latest = Stamp(stamp.time_ms, stamp.count, self.node)

    def _now_ms(self) -> int:
        """The time by the clock furthest ahead of those known, this node's own among them."""
        now = self.now_ms()
        ahead = now if self._lead_ms is None else self._lead_ms + self._passed_ms()
        return ahead if now < ahead <= now + FAR_AHEAD_MS else now

    def _complain(self, stamp: Stamp, now: int) -> None:
        told = self._complained.get(stamp.node)
        if told is None or not told <= now < told + _REPEAT_MS:
            self._complained[stamp.node] = now
            ahead_min = (stamp.time_ms - now) // 60_000
            _log.error(
                'node "%s" wrote a record %d minutes ahead of the clock here: one of the two clocks is wrong '
                "(its records win until others are written in their place)",
                stamp.node,
                ahead_min,
            )
