"""Who gets the processor first: the thread that answers users, before the programs it starts.

The daemon calls `answer_first` once. On Linux niceness belongs to a thread and is inherited by the threads and
processes it makes (sched(7), setpriority(2)), so worker threads and programs are put back to where we started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor

_AT_START = os.getpriority(os.PRIO_PROCESS, 0)
_STEP = 10
_WORKERS = 8


def answer_first() -> None:
    """Put the event loop's thread before everything it starts; does nothing where the user may not."""
    workers = ThreadPoolExecutor(_WORKERS, "worker", initializer=_ordinary_thread)
    asyncio.get_running_loop().set_default_executor(workers)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(_AT_START - _STEP, -20))


def make_ordinary(pid: int) -> None:
    """Give a program we started the niceness we had at the start; one that has ended is ignored."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpriority(os.PRIO_PROCESS, pid) < _AT_START:
            os.setpriority(os.PRIO_PROCESS, pid, _AT_START)


def _ordinary_thread() -> None:
    make_ordinary(threading.get_native_id())
