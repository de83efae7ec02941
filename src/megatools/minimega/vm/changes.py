"""Who is told when a VM changes: a feed for pages that show VMs live. `fleet` publishes, `web` subscribes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from megatools.minimega.vm.lifecycle import VmState


class VmChange(msgspec.Struct, frozen=True):
    """A VM that is new, different or gone; what it looks like now is in its row."""

    uuid: str
    id: int
    name: str
    namespace: str
    state: VmState
    removed: bool = False


class Changes:
    """A feed; a slow subscriber gets the last change of each VM instead of a growing queue."""

    def __init__(self) -> None:
        self._pending: list[tuple[dict[str, VmChange], asyncio.Event]] = []

    def publish(self, change: VmChange) -> None:
        """Tell every subscriber."""
        for waiting, ready in self._pending:
            waiting[change.uuid] = change
            ready.set()

    async def subscribe(self) -> AsyncIterator[VmChange]:
        """Changes from now on, until the caller stops asking."""
        waiting: dict[str, VmChange] = {}
        ready = asyncio.Event()
        entry = (waiting, ready)
        self._pending.append(entry)
        try:
            while True:
                await ready.wait()
                ready.clear()
                while waiting:
                    yield waiting.pop(next(iter(waiting)))
        finally:
            self._pending.remove(entry)
