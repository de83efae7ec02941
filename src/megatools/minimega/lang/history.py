"""The command history of one interpreter: lines as they were typed, the newest 10000. Source: spec B.7."""

from __future__ import annotations

import logging
from collections import deque

_log = logging.getLogger(__name__)
LIMIT = 10_000


class History:
    """Recorded lines, oldest first."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._lines: deque[str] = deque(maxlen=limit)
        self._warned = False

    def record(self, line: str) -> None:
        """Add a line; the oldest one leaves when the history is full, with one warning."""
        if len(self._lines) == self._lines.maxlen and not self._warned:
            self._warned = True
            _log.warning("history holds its limit of %d lines, the oldest are dropped", self._lines.maxlen)
        self._lines.append(line)

    def clear(self) -> None:
        """Forget everything."""
        self._lines.clear()
        self._warned = False

    def lines(self) -> tuple[str, ...]:
        """All recorded lines, oldest first."""
        return tuple(self._lines)

    def text(self) -> str:
        """All recorded lines, one per line, without a final line end."""
        return "\n".join(self._lines)
