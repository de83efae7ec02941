"""A guest that hangs under KVM is told from one that runs, by a monitor that says what it is told to."""

import asyncio
import os
import threading
from typing import cast

import pytest

from megatools.hostkit.errors import CommandFailed
from megatools.hostkit.qemu.qmp import Monitor
from megatools.minimega.vm.backends.kvm.progress import ENOUGH_EXITS, makes_progress, vcpu_ns


class Answers:
    """Answers like QEMU's monitor; `exits` is what query-stats counts, None for a QEMU without it."""

    def __init__(self, exits: list[int] | None, thread: int) -> None:
        self.exits = exits
        self.thread = thread

    async def ask(self, command: str, _arguments: object = None) -> object:
        if command == "query-cpus-fast":
            return [{"cpu-index": 0, "thread-id": self.thread}]
        if self.exits is None:
            raise CommandFailed(f'QEMU refused "{command}"')
        value = self.exits.pop(0) if len(self.exits) > 1 else self.exits[0]
        return [{"provider": "kvm", "stats": [{"name": "exits", "value": value}]}]


def progress(exits: list[int] | None, *, thread: int | None = None) -> bool:
    monitor = cast(Monitor, Answers(exits, os.getpid() if thread is None else thread))
    return asyncio.run(makes_progress(monitor, os.getpid(), 0.2))


@pytest.mark.parametrize("exits", [[0], [1], [ENOUGH_EXITS - 1]])
def test_a_vcpu_that_never_exits_hangs(exits: list[int]) -> None:
    assert not progress(exits)


def test_exits_that_come_late_count() -> None:
    assert progress([0, 0, ENOUGH_EXITS])


def test_without_statistics_the_vcpus_time_counts() -> None:
    assert not progress(None, thread=0)
    end = threading.Event()
    spinning: list[int] = []

    def spin() -> None:
        spinning.append(threading.get_native_id())
        while not end.is_set():
            sum(range(1000))

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        while not spinning:
            continue
        assert progress(None, thread=spinning[0])
        assert vcpu_ns(os.getpid(), spinning) > 0
    finally:
        end.set()
        thread.join()
