"""Many threads write to one socket: whoever comes while another one writes leaves its bytes to that one.

Used by the engine process. Zenoh's threads hand over replies of many nodes at once; waiting for one another, and a call
to the kernel for each, would cost more than the replies themselves.
"""

from __future__ import annotations

import socket
import threading

_MOST_WAITING = 1 << 23


class Speech:
    """The bytes on their way to the other end; when that is gone, they go nowhere."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        self._writing = False
        self._gone = False

    def say(self, data: bytes) -> None:
        """Send bytes after all that was said before; waits while too much is on its way."""
        with self._changed:
            while self._size > _MOST_WAITING and not self._gone:
                self._changed.wait()
            self._waiting.append(data)
            self._size += len(data)
            if self._writing:
                return
            self._writing = True
        while (batch := self._batch()) is not None:
            try:
                self._channel.sendall(batch)
            except OSError:  # the daemon is gone: the main thread sees it too
                self._gone = True

    def _batch(self) -> bytes | None:
        with self._changed:
            if not self._waiting:
                self._writing = False
                return None
            batch = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            self._changed.notify_all()
            return batch
