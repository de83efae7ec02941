"""What survives the daemon: records written before a change is acknowledged.

Any ring may keep records here; each feature owns its kinds. One SQLite file in WAL mode, written by one
thread that commits whatever is waiting together (group commit), so that a hundred launches cost a few
commits and no caller blocks the event loop::

    write(...) --queue--> writer thread: BEGIN; all that waits; COMMIT --> every waiting caller returns

A record of an unknown kind, or of a newer schema, is kept as it is and never dropped. Decision 0011.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from pathlib import Path
from typing import TypeAlias, TypeVar

import msgspec

from megatools.hostkit.errors import Corrupt, Unavailable

SCHEMA_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    kind TEXT NOT NULL, id TEXT NOT NULL, schema INTEGER NOT NULL, host TEXT NOT NULL,
    namespace TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, id)
) STRICT
"""
_PUT = "INSERT OR REPLACE INTO records (kind, id, schema, host, namespace, body) VALUES (?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM records WHERE kind = ? AND id = ?"
_BATCH = 512

T = TypeVar("T")


class Put(msgspec.Struct, frozen=True):
    """Keep this record, in place of an older one of the same kind and id; `body` is a Struct or plain data."""

    kind: str
    id: str
    namespace: str
    body: object


class Delete(msgspec.Struct, frozen=True):
    """Forget this record; nothing happens when there is none."""

    kind: str
    id: str


class Record(msgspec.Struct, frozen=True):
    """A record as it was read; `body` is JSON."""

    kind: str
    id: str
    schema: int
    host: str
    namespace: str
    body: bytes


Change: TypeAlias = Put | Delete
_Statement: TypeAlias = tuple[str, tuple[str | int | bytes, ...]]
_Job: TypeAlias = tuple[list[_Statement], asyncio.AbstractEventLoop, "asyncio.Future[None]"]


def decode(record: Record, kind: type[T]) -> T:
    """A record's body as a Struct; raises Corrupt when it does not fit."""
    try:
        return msgspec.json.decode(record.body, type=kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f'journal record "{record.kind}/{record.id}" is unreadable') from error


class Journal:
    """The daemon's durable records; one per base directory, guarded by the daemon's lock."""

    def __init__(self, path: Path, host: str) -> None:
        self._host = host
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            path.chmod(0o600)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
            self._connection.execute(_TABLE)
            if version == 0:
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        except (sqlite3.Error, OSError) as error:
            raise Corrupt(
                f'cannot open the journal "{path}"', hint="move the file away to start with nothing adopted"
            ) from error
        self._thread = threading.Thread(target=self._write_forever, name="journal", daemon=True)
        self._thread.start()

    def read(self, kind: str) -> list[Record]:
        """All records of a kind, in the order of their ids; meant for start-up, before anything is written."""
        rows = self._connection.execute(
            "SELECT kind, id, schema, host, namespace, body FROM records WHERE kind = ? ORDER BY id", (kind,)
        )
        return [Record(*row) for row in rows]

    async def write(self, *changes: Change) -> None:
        """Make changes durable, all or none; returns once they are. Raises Unavailable when the disk refuses."""
        if changes:
            await asyncio.shield(self.begin(*changes))

    def begin(self, *changes: Change) -> asyncio.Future[None]:
        """Queue changes now, behind all queued before; the future is done once they are durable, all or none."""
        statements = [self._statement(change) for change in changes]  # what cannot be encoded fails here, alone
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._jobs.put((statements, loop, done))
        return done

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _write_forever(self) -> None:
        while (job := self._jobs.get()) is not None:
            batch = [job]
            stop = False
            while len(batch) < _BATCH and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    stop = True
                    break
                batch.append(more)
            self._commit(batch)
            if stop:
                return

    def _commit(self, batch: list[_Job]) -> None:
        error: Exception | None = None
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for statements, _, _ in batch:
                for sql, values in statements:
                    self._connection.execute(sql, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error as refused:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            error = Unavailable(f'cannot write the journal "{self._path}"', hint="is the disk full?")
            error.__cause__ = refused
        for _, loop, done in batch:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, done, error)

    def _statement(self, change: Change) -> _Statement:
        match change:
            case Put(kind, id_, namespace, body):
                return _PUT, (kind, id_, SCHEMA_VERSION, self._host, namespace, msgspec.json.encode(body))
            case Delete(kind, id_):
                return _DELETE, (kind, id_)


def _settle(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
