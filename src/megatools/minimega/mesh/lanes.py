"""Threads that come and go: work of one lane is done in order, lanes do not wait for each other.

Used by the engine process, which has no event loop.
"""

from __future__ import annotations

import queue
import sys
import threading
import traceback
from collections.abc import Callable

_IDLE_S = 20.0

Work = Callable[[], object]


class Lanes:
    """Lanes by name; a lane's thread ends when it has had nothing to do for a while."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._lanes: dict[str, queue.SimpleQueue[Work]] = {}

    def put(self, lane: str, work: Work) -> None:
        """Do something after all else that was put in this lane."""
        with self._lock:
            waiting = self._lanes.get(lane)
            if waiting is None:
                waiting = self._lanes[lane] = queue.SimpleQueue()
                threading.Thread(target=self._drive, args=(lane, waiting), name=lane, daemon=True).start()
            waiting.put(work)

    def __len__(self) -> int:
        return len(self._lanes)

    def _drive(self, lane: str, waiting: queue.SimpleQueue[Work]) -> None:
        while True:
            try:
                work = waiting.get(timeout=self._idle_s)
            except queue.Empty:
                with self._lock:
                    if waiting.empty():
                        del self._lanes[lane]
                        return
                continue
            try:
                work()
            except Exception:  # noqa: BLE001 - the task boundary (R5): the lane goes on, the daemon logs what we print
                traceback.print_exc(file=sys.stderr)
