"""The answering end of calls: requests run here at most once, their parts go out in batches, in order.

`mesh.clique` feeds it what the engine heard. A handler that makes its answer faster than the network takes it is
held up at `_WINDOW` bytes; parts made in one turn of the event loop travel together with the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager, nullcontext
from functools import partial

from megatools.hostkit.errors import MegaError, NotFound, PermissionDenied, ProtocolError, chain_text, hint_of
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import wire
from megatools.minimega.mesh.frames import Answer
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.mesh import Caller, Handler
from megatools.minimega.mesh.trust import Claimed, Trust

_log = logging.getLogger(__name__)
_BATCH = 1 << 18
_WINDOW = 1 << 21
MAX_PART = 1 << 25
_RUNS = 4096
_GRACE_S = 1.0
_SIGN_S = 0.5
_FOR_EVER_S = 86400.0

Send = Callable[[Answer], None]


class Answering:
    """Serves requests of other nodes."""

    def __init__(
        self,
        own: str,
        supervisor: Supervisor,
        send: Send,
        gate: Gate | None = None,
        renewed: frozenset[str] = frozenset(),
    ) -> None:
        self._own = own
        self._gate = gate or Gate()
        self._renewed = renewed
        self.trust: Trust = Claimed()
        self._supervisor = supervisor
        self._send = send
        self.id = ""
        self.handlers: dict[str, Handler] = {}
        self.internal: dict[str, Callable[[Caller, bytes], None]] = {}
        self._windows: OrderedDict[tuple[str, bytes], wire.Window] = OrderedDict()
        self._running: dict[tuple[str, bytes, int], tuple[asyncio.Task[None], Outgoing]] = {}
        self._outgoing: dict[int, Outgoing] = {}

    @property
    def busy(self) -> bool:
        """Whether requests run that would be missed, and not only begun again."""
        return any(not outgoing.renewed for _, outgoing in self._running.values())

    def asked(self, query: int, payload: bytes) -> None:
        """The engine heard a request."""
        try:
            signed = wire.read_signed(payload)
            request = wire.read_request(signed.request)
            place = self._place(request)
            prove = partial(self.trust.verify, signed.request, signed.proof, request.caller, place)
            caller = prove()
            if caller.name != request.caller:
                raise PermissionDenied(f'node "{caller.name}" said that it is "{request.caller}"')
        except PermissionDenied as error:
            _log.warning("refused a request: %s", chain_text(error))
            self._send(Answer(query, "", _end(error), last=True))
        except MegaError as error:
            _log.info("dropped a request: %s", chain_text(error))
            self._send(Answer(query, "", b"", last=True))
        else:
            self._begin(query, request, caller, prove)

    def sent(self, query: int) -> None:
        """The engine says that a marked answer is on its way."""
        outgoing = self._outgoing.get(query)
        if outgoing is not None:
            outgoing.sent()

    def lost(self, caller: str) -> None:
        """Nobody waits any more for what a node asked."""
        for key in [key for key in self._running if key[0] == caller]:
            self._running[key][0].cancel()

    def stop(self) -> None:
        """The engine is gone: nobody waits for anything."""
        for task, outgoing in list(self._running.values()):
            outgoing.close()
            task.cancel()

    def _place(self, request: wire.Request) -> int:
        try:
            return request.to.index(wire.short(self.id))
        except ValueError:
            raise ProtocolError(f'a request of "{request.caller}" was not meant for us') from None

    def _begin(self, query: int, request: wire.Request, caller: Caller, prove: Callable[[], Caller]) -> None:
        if not self._is_new(request):
            _log.info('dropped a request of "%s" that was seen before', request.caller)
            self._send(Answer(query, "", b"", last=True))
            return
        if request.service == wire.STOP:
            self._stop_one(request)
            self._send(Answer(query, request.caller, _end(None), last=True))
            return
        outgoing = Outgoing(query, request.caller, self._send)
        outgoing.renewed = request.service in self._renewed
        self._outgoing[query] = outgoing
        key = (request.caller, request.run, request.serial)
        task = self._supervisor.start(f"answer {request.service}", self._serve(outgoing, request, caller, prove))
        self._running[key] = (task, outgoing)

        def forget(_: object) -> None:
            del self._running[key], self._outgoing[query]
            outgoing.drop()

        task.add_done_callback(forget)

    def _is_new(self, request: wire.Request) -> bool:
        run = (request.caller, request.run)
        window = self._windows.get(run)
        if window is None:
            window = self._windows[run] = wire.Window()
            if len(self._windows) > _RUNS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(run)
        return window.take(request.serial)

    def _stop_one(self, request: wire.Request) -> None:
        serial = int.from_bytes(request.payload, "big")
        found = self._running.get((request.caller, request.run, serial))
        if found is not None:
            found[0].cancel()

    async def _serve(
        self, outgoing: Outgoing, request: wire.Request, caller: Caller, prove: Callable[[], Caller]
    ) -> None:
        timer: asyncio.Timeout | None = None
        try:
            if request.timeout_s < _FOR_EVER_S:  # the caller has its own clock and says so there
                async with asyncio.timeout(request.timeout_s + _GRACE_S) as timer:
                    await self._answer(outgoing, request, caller, prove)
            else:
                await self._answer(outgoing, request, caller, prove)
        except MegaError as error:
            outgoing.finish(error)
        except Exception as error:  # noqa: BLE001 - the message boundary (R5): a bug keeps its traceback, the caller gets one line
            if timer is None or not timer.expired():
                _log.exception('service "%s" failed', request.service)
                outgoing.finish(error)
        else:
            outgoing.finish(None)

    async def _answer(
        self, outgoing: Outgoing, request: wire.Request, caller: Caller, prove: Callable[[], Caller]
    ) -> None:
        service = request.service
        if service not in self.internal and not self._gate.is_open(request.caller, service):
            with outgoing.signs() if service in self._gate.patient else nullcontext():
                await self._gate.passed(request.caller, service)
            caller = prove()  # it may have been revoked meanwhile
        async with aclosing(self.run(caller, service, request.payload)) as parts:
            async for part in parts:
                await outgoing.part(part)

    def run(self, caller: Caller, service: str, payload: bytes) -> AsyncGenerator[bytes, None]:
        """The answer of a service, wherever the question came from. Raises what the handler raises, or NotFound."""
        internal = self.internal.get(service)
        if internal is not None:
            internal(caller, payload)
            return _nothing()
        handler = self.handlers.get(service)
        if handler is None:
            raise NotFound(f'no service "{service}" on "{self._own}"')
        return handler(caller, payload)


class Outgoing:
    """The answer to one query on its way out."""

    def __init__(self, query: int, lane: str, send: Send) -> None:
        self.renewed = False
        self._query = query
        self._lane = lane
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._unsent = 0
        self._unmarked = 0
        self._marks: list[int] = []
        self._room = asyncio.Event()
        self._scheduled = False
        self._finished = False

    async def part(self, payload: bytes) -> None:
        """Send a part, at the latest when the event loop turns; waits while too much is on its way."""
        if len(payload) > MAX_PART:
            raise ProtocolError(f"a part of an answer has {len(payload)} bytes, over the limit of {MAX_PART}")
        self._parts.append(payload)
        self._size += len(payload)
        if self._size >= _BATCH:
            self._flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)
        while self._unsent > _WINDOW and not self._finished:
            self._room.clear()
            await self._room.wait()

    @contextmanager
    def signs(self) -> Generator[None]:
        """Send empty parts now and then, until the block ends: the caller waits, and this node lives."""
        timer: asyncio.TimerHandle

        def sign() -> None:
            nonlocal timer
            timer = self._loop.call_later(_SIGN_S, sign)
            self._parts.append(b"")
            self._flush()

        timer = self._loop.call_later(_SIGN_S, sign)
        try:
            yield
        finally:
            timer.cancel()

    def finish(self, error: BaseException | None) -> None:
        """Send the end; the first end counts."""
        if not self._finished:
            self._flush(wire.End() if error is None else _ended(error))
            self._finished = True

    def drop(self) -> None:
        """End without an end: the caller asked for no more, or is gone."""
        if not self._finished:
            self._finished = True
            self._send(Answer(self._query, self._lane, b"", last=True))

    def close(self) -> None:
        """Send nothing more: there is no engine to send it."""
        self._finished = True
        self._room.set()

    def sent(self) -> None:
        """A marked answer left the engine."""
        if self._marks:
            self._unsent -= self._marks.pop(0)
        self._room.set()

    def _turn(self) -> None:
        self._scheduled = False
        if self._parts:
            self._flush()

    def _flush(self, end: wire.End | None = None) -> None:
        if self._finished:
            return
        payload = wire.encode(wire.Reply(self._number, tuple(self._parts), end))
        self._unmarked += self._size
        mark = self._unmarked >= _BATCH // 4
        if mark:
            self._marks.append(self._unmarked)
            self._unsent += self._unmarked
            self._unmarked = 0
        self._number += 1
        self._parts.clear()
        self._size = 0
        self._send(Answer(self._query, self._lane, payload, end is not None, mark))


async def _nothing() -> AsyncGenerator[bytes, None]:
    nothing: tuple[bytes, ...] = ()
    for part in nothing:
        yield part


def _ended(error: BaseException) -> wire.End:
    if isinstance(error, MegaError):
        return wire.End(failed=True, error=chain_text(error), hint=hint_of(error), kind=type(error).__name__)
    return wire.End(failed=True, error=f"internal error: {error!r}")


def _end(error: BaseException | None) -> bytes:
    return wire.encode(wire.Reply(0, (), wire.End() if error is None else _ended(error)))
