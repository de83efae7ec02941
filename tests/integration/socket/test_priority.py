"""The thread that answers goes first; what it starts does not."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from megatools.hostkit import proc
from megatools.hostkit.priority import answer_first

pytestmark = pytest.mark.root


def test_programs_and_workers_stay_ordinary() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    seen: dict[str, int] = {}

    async def look() -> None:
        answer_first()
        seen["loop"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        seen["worker"] = await asyncio.to_thread(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        child = proc.spawn(["sleep", "60"])
        try:
            seen["spawned"] = os.getpriority(os.PRIO_PROCESS, child.pid)
        finally:
            await proc.end(child.identity)
            await child.wait()
        done = await proc.run(["sh", "-c", "read _ < /dev/stdin; nice"], timeout_s=10, stdin=b"go\n")
        seen["run"] = int(done.text)

    thread = threading.Thread(target=lambda: asyncio.run(look()))  # niceness belongs to the thread, and goes with it
    thread.start()
    thread.join()
    assert seen == {"loop": before - 10, "worker": before, "spawned": before, "run": before}
