"""igor's service: requests of other users over a unix socket, answered by one engine. `igor serve` runs it.

::

    connection --line, descriptors--> copying (threads, no lock) --> queue --> one thread: a batch of changes, one
    commit for all that wait --> answers

Who asks is what the kernel says of the peer (SO_PEERCRED); files come as open descriptors, opened with the asker's
rights. What takes long (power, checks, looking at the network) is done by other threads with stores of their own. It
exits when idle, so that a socket unit can start it again: no standing daemon.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, MegaError, PermissionDenied, ProtocolError, Unavailable
from megatools.igor.api import wire
from megatools.igor.api.context import Images
from megatools.igor.api.engine import Engine, open_engine, work_off
from megatools.igor.api.people import person_of
from megatools.igor.api.requests import (
    Answer,
    AnyRequest,
    Check,
    GetHosts,
    GetProfiles,
    Import,
    Power,
    Show,
    Stats,
    Tick,
)
from megatools.igor.model.config import Config
from megatools.igor.model.person import Person

_log = logging.getLogger(__name__)
_APART = (Show, GetHosts, GetProfiles, Stats, Power, Check, Import, Tick)
_REQUEST_DEADLINE_S = 30.0
_THREADS = 24
_BATCH = 64
_PEOPLE_S = 10.0
_CREDENTIALS = struct.Struct("3i")
LISTEN_FD = 3


class _Job:
    """A change that waits for its turn."""

    def __init__(self, person: Person, request: AnyRequest, images: Images | None) -> None:
        self.person, self.request, self.images = person, request, images
        self.answer: Future[Answer] = Future()


class Worker:
    """One engine and one thread that makes all changes, those that wait together in one transaction."""

    def __init__(self, open_one: Callable[[], Engine]) -> None:
        self._open = open_one
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.engine = open_one()
        self._thread = threading.Thread(target=self._forever, name="changes", daemon=True)
        self._work = threading.Thread(target=self._work_forever, name="work", daemon=True)
        self._changed = threading.Semaphore(0)
        self._ended = False
        self._thread.start()
        self._work.start()

    def submit(self, person: Person, request: AnyRequest, images: Images | None) -> Future[Answer]:
        """Queue a change; the future gets its answer or error."""
        job = _Job(person, request, images)
        self._jobs.put(job)
        return job.answer

    def close(self) -> None:
        """Finish what waits and stop."""
        self._jobs.put(None)
        self._thread.join()
        self._ended = True
        self._changed.release()
        self._work.join()
        self.engine.store.close()

    def _forever(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch: list[_Job] = [job]
            last = False
            while len(batch) < _BATCH and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    last = True
                    break
                batch.append(more)
            self._answer(batch)
            self._changed.release()
            if last:
                return

    def _answer(self, batch: Sequence[_Job]) -> None:
        results: list[Answer | Exception] = []
        try:
            with self.engine.store.batch():
                results = [self._one(job) for job in batch]
        except Exception as error:  # noqa: BLE001 - the request boundary (R5): each is answered with what it was
            if len(batch) > 1:  # one of them may be to blame: one by one
                for job in batch:
                    self._answer([job])
                return
            results = [error]
        for job, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)

    def _one(self, job: _Job) -> Answer | Exception:
        try:
            return self.engine.ask(job.person, job.request, (), job.images)
        except MegaError as error:
            return error

    def _work_forever(self) -> None:
        """Hooks, power, switches and messages, after the changes that asked for them."""
        engine = self._open()
        try:
            while not self._ended:
                self._changed.acquire()
                while self._changed.acquire(blocking=False):
                    pass
                try:
                    work_off(engine.store, engine.config)
                except MegaError:
                    _log.exception("work after a change failed")
        finally:
            engine.store.close()


class Service:
    """Serves a listening socket until it is idle for long enough."""

    def __init__(self, config: Config, *, idle_exit_s: float = 0.0) -> None:
        self.config = config
        self._idle_exit_s = idle_exit_s
        self._open = 0
        self._used = time.monotonic()
        self._people: dict[int, tuple[float, Person]] = {}
        self._own = threading.local()
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Finish what is under way and return from `serve`."""
        self._stop.set()

    async def serve(self, listener: socket.socket) -> None:
        """Answer until stopped or idle."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        worker = await asyncio.to_thread(Worker, lambda: open_engine(self.config))
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="igor")
        try:
            async with asyncio.TaskGroup() as group:
                accepting = group.create_task(self._accept(listener, worker, pool, group))
                await self._until_idle()
                accepting.cancel()
        finally:
            await loop.run_in_executor(None, worker.close)
            pool.shutdown()

    async def _until_idle(self) -> None:
        while not self._stop.is_set():
            patience_s = None
            if self._idle_exit_s:
                patience_s = max(0.01, self._used + self._idle_exit_s - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._stop.wait()
            if self._idle_exit_s and not self._open and time.monotonic() - self._used >= self._idle_exit_s:
                return

    async def _accept(
        self, listener: socket.socket, worker: Worker, pool: ThreadPoolExecutor, group: asyncio.TaskGroup
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            self._open += 1
            group.create_task(self._converse(connection, worker, pool))

    async def _converse(self, connection: socket.socket, worker: Worker, pool: ThreadPoolExecutor) -> None:
        files: list[int] = []
        loop = asyncio.get_running_loop()
        connection.setblocking(False)
        try:
            reply = await self._reply(connection, files, worker, pool)
            async with asyncio.timeout(_REQUEST_DEADLINE_S):
                await loop.sock_sendall(connection, reply)
        except (OSError, TimeoutError):
            _log.info("a client left before its answer")
        finally:
            for descriptor in files:
                os.close(descriptor)
            connection.close()
            self._open -= 1
            self._used = time.monotonic()

    async def _reply(
        self, connection: socket.socket, files: list[int], worker: Worker, pool: ThreadPoolExecutor
    ) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            person = self._peer(connection)
            async with asyncio.timeout(_REQUEST_DEADLINE_S):
                line = await _received(connection, files)
            request = wire.request_of(line)
            if isinstance(request, _APART):
                return wire.answer_line(await loop.run_in_executor(pool, self._apart, person, request))
            return wire.answer_line(await loop.run_in_executor(pool, self._change, worker, person, request, files))
        except MegaError as error:
            return wire.error_line(error)
        except TimeoutError:
            return wire.error_line(ProtocolError(f"no whole request came within {_REQUEST_DEADLINE_S:g} s"))
        except Exception as error:  # noqa: BLE001 - the request boundary (R5): a bug keeps its traceback in the log
            _log.exception("a request failed")
            return wire.error_line(Unavailable(f"igor's service failed: {type(error).__name__}", hint="see its log"))

    def _peer(self, connection: socket.socket) -> Person:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(packed)
        now = time.monotonic()
        known = self._people.get(uid)
        if known is None or now - known[0] > _PEOPLE_S:
            known = self._people[uid] = (now, person_of(uid, self.config))
        return known[1]

    def _apart(self, person: Person, request: AnyRequest) -> Answer:
        engine: Engine | None = getattr(self._own, "engine", None)
        if engine is None:
            engine = self._own.engine = open_engine(self.config)
        return engine.ask(person, request)

    def _change(self, worker: Worker, person: Person, request: AnyRequest, files: Sequence[int]) -> Answer:
        with worker.engine.copied(person, request, files) as images:
            return worker.submit(person, request, images).result()


async def _received(connection: socket.socket, files: list[int]) -> bytes:
    """A line, and the descriptors that came with it (added to `files`)."""
    loop = asyncio.get_running_loop()
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(b"\n"):
        try:
            data, came, _, _ = socket.recv_fds(connection, 1 << 16, wire.MAX_FILES)
        except BlockingIOError:
            await _readable(loop, connection)
            continue
        files.extend(came)
        parts.append(data)
        size += len(data)
        if not data:
            raise ProtocolError("the client closed the connection before the end of its request")
        if size > wire.MAX_REQUEST_BYTES or len(files) > wire.MAX_FILES:
            raise InvalidInput(f"a request has at most {wire.MAX_REQUEST_BYTES} bytes and {wire.MAX_FILES} files")
    return b"".join(parts)


async def _readable(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)


def listening_socket(path: str) -> socket.socket:
    """The socket that a socket unit passed, else one made at `path` for everybody to connect to.

    Raises PermissionDenied, Unavailable (another service listens there).
    """
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and os.environ.get("LISTEN_FDS", "0") != "0":
        return socket.socket(fileno=LISTEN_FD)
    place = Path(path)
    try:
        place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if place.is_socket():
            _remove_dead(place)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        hidden = place.with_name(f".{place.name}.{os.getpid()}")
        hidden.unlink(missing_ok=True)
        listener.bind(str(hidden))
        hidden.chmod(0o666)  # who connects is known by uid; what they may do, the engine decides
        listener.listen(128)
        hidden.rename(place)  # whoever sees it can connect
    except PermissionError as error:
        raise PermissionDenied(f'cannot listen at "{path}"') from error
    except OSError as error:
        raise Unavailable(f'cannot listen at "{path}"') from error
    return listener


def _remove_dead(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(place))
        except ConnectionRefusedError:
            place.unlink(missing_ok=True)
            return
    raise Unavailable(f'an igor service listens at "{place}" already')
