"""Calls to other nodes that may take long: a node that works shows signs of life, one that is silent is given up.

Used by whatever asks nodes for something (`fanout`, `sending`, `topology`). Around `Mesh.call` and `Mesh.serve`, it
adds three things::

    sign      an empty part now and then, while the work goes on; only silence counts against a node's deadline
    piece     a part of a message longer than `PIECE_BYTES`
    message   the end of a message, and when it was said: what the asker does next is later (`state.stamps`)

What a node was asked to do goes on there when the caller has gone: a launch is not torn apart in the middle.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import InvalidInput, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.hostkit.upcoming import END, Upcoming
from megatools.minimega.mesh.mesh import Arrival, Ending, Mesh
from megatools.minimega.state.stamps import Stamp, StampClock

SIGN_EVERY_S = 0.5
PIECE_BYTES = 1 << 20
SHORTEST_S = 2 * SIGN_EVERY_S  # a shorter deadline would find a node silent between two signs
_LONGEST_S = 30 * 24 * 3600.0
_STALLED_S = 1.0
_AHEAD = 16
_MAY_STILL = "it may still do what it was asked"
_SIGN, _PIECE, _MESSAGE = b"\0", b"\1", b"\2"
_SAID = struct.Struct(">QQ")  # a stamp without its node

Parts: TypeAlias = AsyncGenerator[bytes, None]


class Patience:
    """How long a node may be silent before it is given up, in seconds; 0 is for ever."""

    def __init__(self, default_s: float) -> None:
        self.default_s = default_s
        self._silence_s = default_s

    @property
    def silence_s(self) -> float:
        """The deadline now."""
        return self._silence_s

    @silence_s.setter
    def silence_s(self, seconds: float) -> None:
        """Raises InvalidInput for one that is too short, or negative."""
        if seconds and seconds < SHORTEST_S:
            raise InvalidInput(
                f"timeout of {seconds:g} s is too short", hint=f"at least {SHORTEST_S:g} s, or 0 for none"
            )
        self._silence_s = seconds


async def ask(
    mesh: Mesh,
    targets: Sequence[str],
    service: str,
    request: bytes,
    patience: Patience,
    clock: StampClock | None = None,
) -> AsyncGenerator[Arrival, None]:
    """Whole messages of the targets' answers as they arrive, and one end per target, whatever happens.

    What `clock` stamps from then on is later than what was answered.
    """
    talks = Talks(targets, patience.silence_s, asyncio.get_running_loop().time, clock)
    talks.absent = {*targets} - {mesh.name, *(member.name for member in mesh.members())}
    calls = mesh.call(targets, service, request, timeout_s=_LONGEST_S)
    async with aclosing(Upcoming(calls)) as upcoming:
        while talks.waiting:
            try:
                arrival = await upcoming.next(talks.left_s())
            except TimeoutError:
                shown = talks.silent()
            else:
                shown = talks.all_lost() if arrival is END else talks.take(arrival)
            for message in shown:
                before = talks.now()
                yield message
                talks.stalled(talks.now() - before)


class Talks:
    """What is known of each target while a call runs; `now` is a clock in seconds."""

    def __init__(
        self, targets: Sequence[str], silence_s: float, now: Callable[[], float], clock: StampClock | None = None
    ) -> None:
        self._silence_s = silence_s
        self.now = now
        self._clock = clock
        self.absent: set[str] = set()  # who was not there to begin with
        self._began = self.now()
        self._heard = dict.fromkeys(targets, self._began)
        self._pieces: dict[str, list[bytes]] = {}
        self._check_at = self._began + silence_s

    @property
    def waiting(self) -> bool:
        """Whether some target has not ended."""
        return bool(self._heard)

    def left_s(self) -> float | None:
        """How long until somebody may have been silent too long."""
        return max(0.0, self._check_at - self.now()) if self._silence_s else None

    def take(self, arrival: Arrival) -> Iterator[Arrival]:
        """Something came: a whole message or an end is passed on."""
        host = arrival.host
        if host not in self._heard:
            return
        self._heard[host] = self.now()
        if arrival.ending is not None:
            del self._heard[host]
            is_loss = arrival.ending is Ending.LOST and host not in self.absent
            yield self._lost(host, arrival.error) if is_loss else arrival
            return
        mark, content = arrival.payload[:1], arrival.payload[1:]
        if mark == _PIECE:
            self._pieces.setdefault(host, []).append(content)
        elif mark == _MESSAGE:
            if self._clock is not None:
                time_ms, count = _SAID.unpack_from(content)
                self._clock.saw(Stamp(time_ms, count, host))
            yield Arrival(host, b"".join((*self._pieces.pop(host, ()), content[_SAID.size :])))

    def silent(self) -> Iterator[Arrival]:
        """The targets not heard of for too long; each has ended.

        When this process itself could not look for a while, what they said meanwhile has yet to be read.
        """
        now = self.now()
        if now - self._check_at > _STALLED_S:
            self.stalled(now - self._check_at)
            return
        late = [host for host, heard in self._heard.items() if now - heard >= self._silence_s]
        for host in late:
            del self._heard[host]
        self._check_at = min(self._heard.values(), default=now) + self._silence_s
        for host in late:
            yield Arrival(
                host,
                ending=Ending.TIMED_OUT,
                error=f'timed out: no sign of life from "{host}" for {self._silence_s:g} s',
                hint=f"{_MAY_STILL}; `mesh timeout` shows and sets the limit",
            )

    def all_lost(self) -> Iterator[Arrival]:
        """The mesh has nothing more to say, and some have not ended."""
        lost, self._heard = self._heard, {}
        for host in lost:
            yield self._lost(host)

    def stalled(self, seconds: float) -> None:
        """The one who takes the answers took that long: silence is not the targets' fault."""
        if seconds > _STALLED_S:
            self._heard = dict.fromkeys(self._heard, self.now())
            self._check_at = self.now() + self._silence_s

    def _lost(self, host: str, why: str = "") -> Arrival:
        what = why or f'node "{host}" was lost'
        error = f"{what} after {self.now() - self._began:.1f} s"
        return Arrival(host, ending=Ending.LOST, error=error, hint=_MAY_STILL)


class Voice(Protocol):
    """How work on behalf of a caller is heard."""

    async def say(self, message: bytes) -> None:
        """Send a message; waits while the caller does not keep up, and drops it when the caller has gone."""
        ...

    def whisper(self, message: bytes) -> None:
        """Send a message unless the caller does not keep up."""
        ...


async def working(
    supervisor: Supervisor,
    name: str,
    work: Callable[[Voice], Coroutine[object, object, None]],
    clock: StampClock | None = None,
) -> Parts:
    """Serve a call: what `work` says as parts, and signs of life in between. What it raises is raised.

    The work runs to its end when the caller leaves, unless the daemon ends.
    """
    talk = _Talk()
    supervisor.start(name, talk.run(work))
    try:
        await asyncio.sleep(0)  # most work is done at once, and nobody need wait for it
        while True:
            try:
                message = await talk.heard()
            except TimeoutError:
                yield _SIGN
                continue
            if message is None:
                return
            if isinstance(message, Exception):
                raise message
            for part in _parts(message, _SAID.pack(0, 0) if clock is None else _said(clock.next())):
                yield part
    finally:
        talk.leave()


class _Talk:
    """Satisfies `Voice`: what the work has said and nobody has taken yet."""

    def __init__(self) -> None:
        self._said: deque[bytes | Exception | None] = deque()
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._left = False

    async def run(self, work: Callable[[Voice], Coroutine[object, object, None]]) -> None:
        try:
            await work(self)
        except asyncio.CancelledError:
            self.leave()
            self._add(Unavailable("the daemon is ending"))
            raise
        except Exception as error:  # noqa: BLE001 - handed on to the one who serves the call
            await self._put(error)
        else:
            await self._put(None)

    async def heard(self) -> bytes | Exception | None:
        """What was said next, None at the end. Raises TimeoutError when it is time for a sign of life."""
        if not self._said:
            self._news = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(SIGN_EVERY_S):
                await self._news
        item = self._said.popleft()
        _wake(self._room)
        return item

    def leave(self) -> None:
        """Nobody takes anything any more: whoever waits to say something goes on."""
        self._left = True
        self._said.clear()
        _wake(self._room)

    async def say(self, message: bytes) -> None:
        await self._put(message)

    def whisper(self, message: bytes) -> None:
        if not self._left and len(self._said) < _AHEAD:
            self._add(message)

    async def _put(self, item: bytes | Exception | None) -> None:
        while len(self._said) >= _AHEAD and not self._left:
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)
        if not self._left:
            self._add(item)

    def _add(self, item: bytes | Exception | None) -> None:
        self._said.append(item)
        _wake(self._news)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


def _said(stamp: Stamp) -> bytes:
    return _SAID.pack(stamp.time_ms, stamp.count)


def _parts(message: bytes, said: bytes) -> Iterator[bytes]:
    """A message cut into parts, none longer than a piece; the last tells when it was said."""
    at = 0
    while len(message) - at > PIECE_BYTES:
        yield _PIECE + message[at : at + PIECE_BYTES]
        at += PIECE_BYTES
    yield _MESSAGE + said + message[at:]
