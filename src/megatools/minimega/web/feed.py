"""The live list of VMs: one watcher of the fleet, any number of viewers, as server-sent events.

Each viewer remembers what it was told, so a slow one skips to the newest state and nothing is queued::

    fleet.changes() --> dirty --> table() --> rows, version+1 --> every viewer sends the difference
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import msgspec

from megatools.hostkit.tasks import set_within
from megatools.minimega.web.fleet import FleetView, Row, rows_of

_SPACING_S = 0.1  # between two looks at the fleet: a hundred VMs starting at once are a few updates, not a hundred
_LOOK_AGAIN_S = 10.0  # changes that come without an event, should there be any
_KEEP_ALIVE_S = 15.0
_UNWATCHED = ("uptime",)  # would make every row change all the time


class Feed:
    """Keeps the newest rows while somebody watches; `viewers` is how many do."""

    def __init__(self, fleet: FleetView) -> None:
        self._fleet = fleet
        self._rows: dict[str, Row] | None = None
        self._silent: Mapping[str, str] = {}
        self._dirty = asyncio.Event()
        self._news = asyncio.Event()
        self.viewers = 0
        self._viewed, self._unviewed = asyncio.Event(), asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Watch until `close`; the streams end when it ends."""
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch())
                await self._refresh()
                watching.cancel()
        finally:
            self.close()

    def close(self) -> None:
        """End every stream."""
        self._closed = True
        self._dirty.set()
        self._news.set()

    async def _watch(self) -> None:
        """Follow the fleet while somebody views it: following costs every host of the mesh something."""
        while True:
            await self._viewed.wait()
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow())
                await self._unviewed.wait()
                following.cancel()

    async def _follow(self) -> None:
        async for _ in self._fleet.changes():
            self._dirty.set()

    async def _refresh(self) -> None:
        while not self._closed:
            await self._wait_for_need()
            self._dirty.clear()
            if self.viewers and not self._closed:
                table = await self._fleet.table()
                self._publish(rows_of(table), self._fleet.silent())
                await asyncio.sleep(_SPACING_S)

    async def _wait_for_need(self) -> None:
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S if self.viewers else None):
                await self._dirty.wait()
        except TimeoutError:
            return

    def _publish(self, rows: list[Row], silent: Mapping[str, str]) -> None:
        fresh: dict[str, Row] = {
            row["uuid"]: {column: cell for column, cell in row.items() if column not in _UNWATCHED} for row in rows
        }
        if fresh != self._rows or silent != self._silent:
            self._rows, self._silent = fresh, silent
            self._news.set()
            self._news = asyncio.Event()

    async def events(self, namespace: str | None = None) -> AsyncIterator[bytes]:
        """A server-sent event stream: `snapshot` first, then `change` with the VMs that changed and those gone.

        Both name the hosts whose VMs are not known, as `silent`: by name, why.
        """
        told: tuple[dict[str, Row], Mapping[str, str]] | None = None
        self._count(1)
        self._dirty.set()
        try:
            yield b"retry: 1000\n\n"
            while not self._closed:
                news, rows = self._news, self._rows
                if rows is not None:
                    mine = {key: row for key, row in rows.items() if namespace in (None, row["namespace"])}
                    message = _difference(self._fleet.host, told, (mine, self._silent))
                    told = mine, self._silent
                    if message:
                        yield message
                if self._news is news and not await set_within(news, _KEEP_ALIVE_S):
                    yield b": still here\n\n"
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        """A viewer comes or goes."""
        self.viewers += step
        if self.viewers:
            self._viewed.set()
            self._unviewed.clear()
        else:
            self._viewed.clear()
            self._unviewed.set()
            self._rows = None  # nobody keeps it fresh now


def _difference(
    host: str, told: tuple[dict[str, Row], Mapping[str, str]] | None, now: tuple[dict[str, Row], Mapping[str, str]]
) -> bytes:
    rows, silent = now
    if told is None:
        return _event("snapshot", {"host": host, "vms": list(rows.values()), "silent": silent})
    if told == now:
        return b""
    before, _ = told
    changed = [row for key, row in rows.items() if before.get(key) != row]
    gone = [key for key in before if key not in rows]
    return _event("change", {"vms": changed, "gone": gone, "silent": silent})


def _event(name: str, body: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n"
