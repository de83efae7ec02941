"""Signals that end a program: turned into one exception, and held back while something must be done as a whole.

Called by programs that work on one thing after another (vmbetter), in their main thread.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator
from types import FrameType
from typing import NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The program was asked to end; no error, so that nobody takes it for one on the way out."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + self.number


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for one in ENDING:  # once is enough: the way out is not to be cut short
        signal.signal(one, signal.SIG_IGN)
    raise Stopped(signal.Signals(number))


def install() -> None:
    """Have the signals raise Stopped, but for those that the caller had ignored (nohup)."""
    for one in ENDING:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, _stop)


@contextlib.contextmanager
def held() -> Generator[None]:
    """Let the signals wait until the block is done: for what is short. No program may be started in it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
