"""The live picture of the cluster as server-sent events: one watcher of the store, any number of viewers.

Each viewer remembers what it was told, so a slow one skips to the newest state and nothing is queued::

    store changed, or time passed --> Show --> head, rows --> every viewer sends the difference
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from megatools.hostkit.errors import MegaError, chain_text
from megatools.hostkit.tasks import set_within
from megatools.igor.api.engine import Engine
from megatools.igor.api.requests import Overview, Show
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.nodes import Span
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Reservation
from megatools.igor.web.engines import Engines

_log = logging.getLogger(__name__)
WATCHER = Person(-1, "", frozenset())
_SPACING_S = 0.5  # between two looks at whether the store has changed
_LOOK_AGAIN_S = 15.0  # liveness and the clock change without the store
_KEEP_ALIVE_S = 15.0


class Row(msgspec.Struct, frozen=True):
    """A reservation as pages show it; times in seconds since 1970."""

    id: int
    name: str
    owner: str
    group: str
    nodes: str
    spans: tuple[Span, ...]
    size: int
    start_s: int
    end_s: int
    state: str
    kind: str
    waiting: bool
    profile: str
    note: str
    vlan: int


class Head(msgspec.Struct, frozen=True):
    """What there is besides reservations. `down` and the keys of `blocked` are node numbers."""

    cluster: Cluster
    nodes: str
    down: str
    blocked: dict[int, str]
    pause: str
    goodfaith: bool
    default_hours: float


class Picture(msgspec.Struct, frozen=True):
    """All that pages show, at one time."""

    head: Head
    rows: dict[int, Row]
    now_s: int


def row_of(one: Reservation, cluster: Cluster) -> Row:
    """A reservation as a row."""
    return Row(
        one.id, one.name, one.owner, one.group, cluster.written(one.nodes), one.nodes.spans, len(one.nodes),
        one.start_s, one.end_s, one.state.value, one.kind.value, one.waiting, one.details.profile, one.details.note,
        one.vlan,
    )  # fmt: skip


class Feed:
    """Keeps the newest picture while somebody watches."""

    def __init__(self, engines: Engines) -> None:
        """`engines` must have one thread: what a connection sees as changed is what others changed."""
        self._engines = engines
        self._picture: Picture | None = None
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()
        self._viewers = 0
        self._closed = False

    def close(self) -> None:
        """End every stream and `run`."""
        self._closed = True
        self._wanted.set()
        self._publish(None)

    async def run(self) -> None:
        """Watch until `close`; looks at nothing while nobody does."""
        loop = asyncio.get_running_loop()
        seen, looked = -1, 0.0
        while not self._closed:
            await self._wanted.wait()
            try:
                version = await self._engines.run(_version)
                if version != seen or self._picture is None or loop.time() - looked > _LOOK_AGAIN_S:
                    seen, looked = version, loop.time()
                    self._publish(await self._engines.run(_look))
            except MegaError as error:
                _log.warning("cannot look at the cluster: %s", chain_text(error))
            if not self._closed:
                await asyncio.sleep(_SPACING_S)

    def _publish(self, picture: Picture | None) -> None:
        self._picture = picture
        self._news.set()
        self._news = asyncio.Event()

    async def events(self, person: Person, is_known: Callable[[], Awaitable[bool]]) -> AsyncGenerator[bytes]:
        """A stream for one person: `snapshot` first, then `change`; it ends when `is_known` says no (token over)."""
        told: Picture | None = None
        self._viewers += 1
        self._wanted.set()
        try:
            yield b"retry: 1000\n\n"
            while not self._closed:
                news, now = self._news, self._picture
                if now is not None:
                    message = _difference(person, told, now)
                    told = now
                    if message:
                        yield message
                if self._news is news and not await set_within(news, _KEEP_ALIVE_S):
                    yield b": still here\n\n"
                    if not await is_known():
                        return
        finally:
            self._viewers -= 1
            if not self._viewers and not self._closed:
                self._wanted.clear()
                self._picture = None  # nobody keeps it fresh now


def _version(engine: Engine) -> int:
    """A number that changes when others change the store (https://sqlite.org/pragma.html#pragma_data_version)."""
    return int(engine.store.database.execute("PRAGMA data_version").fetchone()[0])


def _look(engine: Engine) -> Picture:
    overview = engine.ask(WATCHER, Show())
    assert isinstance(overview, Overview)
    cluster, config = overview.cluster, engine.config
    blocked = {host.number: host.blocked for host in overview.blocked}
    head = Head(
        cluster, cluster.range(), overview.down, blocked, overview.pause, config.goodfaith, config.default_hours
    )
    return Picture(head, {one.id: row_of(one, cluster) for one in overview.reservations}, overview.now_s)


def _difference(person: Person, told: Picture | None, now: Picture) -> bytes:
    if told is None:
        me = {"name": person.name, "groups": sorted(person.groups), "admin": person.admin}
        return _event("snapshot", {"me": me, "head": now.head, "rows": list(now.rows.values()), "now_s": now.now_s})
    changed = [row for key, row in now.rows.items() if told.rows.get(key) != row]
    gone = [key for key in told.rows if key not in now.rows]
    head = None if told.head == now.head else now.head
    if not (changed or gone or head):
        return b""
    return _event("change", {"head": head, "rows": changed, "gone": gone, "now_s": now.now_s})


def _event(name: str, body: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(body) + b"\n\n"
