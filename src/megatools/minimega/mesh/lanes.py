"""Threads that come and go: work of one lane is done in order, lanes do not wait for each other.

Used by the engine process, which has no event loop. A lane is a peer: sending to one whose connection is stuck waits,
and must hold up nobody else. What is small enough to fit into the buffers of a connection never waits, and is done at
once, where it is asked for, unless the lane has something to do already.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence

_IDLE_S = 20.0
_SMALL = 1 << 16
"""Bytes that a connection takes without waiting: half of what Zenoh batches, beside the kernel's own buffers."""

_WINDOW_S = 1.0

Work = Callable[[], object]


class Lanes:
    """Lanes by name; a lane's thread ends when it has had nothing to do for a while."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._since_s = 0.0
        self._sent: dict[str, int] = {}  # bytes sent at once, by lane, in this window of time

    def do(self, peers: Sequence[str], size: int, work: Work) -> None:
        """Send `size` bytes to each of these peers (none: to all); called by one thread only.

        What goes to several at once and is not small has a lane of its own.
        """
        lane = peers[0] if len(peers) == 1 else ""
        if self._fits(lane, size):
            _run(work)
        else:
            self.put(lane, work)

    def _fits(self, lane: str, size: int) -> bool:
        now = time.monotonic()
        if now - self._since_s > _WINDOW_S:
            self._since_s = now
            self._sent.clear()
        sent = self._sent.get(lane, 0) + size
        if sent > _SMALL or self._is_busy(lane):
            return False
        self._sent[lane] = sent
        return True

    def _is_busy(self, lane: str) -> bool:
        with self._lock:
            known = self._lanes.get(lane)
            return known is not None and known.busy

    def put(self, lane: str, work: Work) -> None:
        """Do something after all else that was put in this lane."""
        with self._lock:
            known = self._lanes.get(lane)
            if known is None:
                known = self._lanes[lane] = _Lane()
                threading.Thread(target=self._drive, args=(lane, known), name=lane, daemon=True).start()
            known.pending += 1
            known.waiting.put(work)

    def __len__(self) -> int:
        return len(self._lanes)

    def _drive(self, name: str, lane: _Lane) -> None:
        while True:
            try:
                work = lane.waiting.get(timeout=self._idle_s)
            except queue.Empty:
                with self._lock:
                    if not lane.busy:
                        del self._lanes[name]
                        return
                continue
            _run(work)
            with self._lock:
                lane.pending -= 1


class _Lane:
    """What one thread has to do."""

    def __init__(self) -> None:
        self.waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.pending = 0

    @property
    def busy(self) -> bool:
        return self.pending > 0


def _run(work: Work) -> None:
    try:
        work()
    except Exception:  # noqa: BLE001 - the task boundary (R5): the engine goes on, the daemon logs what we print
        traceback.print_exc(file=sys.stderr)
