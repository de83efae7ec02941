"""igor's memory: one SQLite file in WAL mode beside a lock; opened by front doors, read by everybody they hand it to.

Reading takes no lock. Changing does (`change`), through commit and boot files, so that both always tell one story::

    lock > BEGIN IMMEDIATE > rows, paths marked pending > new files written aside > COMMIT > renamed > unmarked > unlock

A process killed before COMMIT has changed nothing; one killed after it leaves marked paths, which the next change (or
`igor check`) settles first. After a reboot every boot file is looked at once: a power cut may have eaten renames.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Generator
from pathlib import Path

import msgspec

from megatools.hostkit.errors import Corrupt, InvalidState, MegaError, NotFound, PermissionDenied, Unavailable
from megatools.hostkit.files import Lock
from megatools.igor.model import nodes
from megatools.igor.model.host import Host
from megatools.igor.model.image import BootFile, ContentHash, Image, ImageKind, LinkTo, Profile
from megatools.igor.model.reservation import Reservation, Task
from megatools.igor.plan.calendar import Booking
from megatools.igor.store import rows, schema
from megatools.igor.store.change import Change, Step
from megatools.igor.store.disk import Disk

DATABASE = "igor.db"
_host = msgspec.json.Decoder(Host)
_BUSY_S = 20.0


def _no_step(_: str) -> None:
    """The usual step: none."""


class Store:
    """The store of one cluster; one object per thread."""

    def __init__(self, directory: Path, root: Path, *, group: int = -1, step: Step = _no_step) -> None:
        """Open the store, making it when there is none. `group` is a group id whose members may write it, or -1.

        Raises PermissionDenied, Unavailable, Corrupt.
        """
        self.directory = directory
        self.disk = Disk(root)
        self.step = step
        self._group = group
        self._lock = Lock(directory / "lock")
        self._open_change: Change | None = None
        self._bookings: tuple[int, dict[int, Booking]] | None = None
        self._blocked: tuple[dict[int, Host], list[int]] | None = None
        self._hosts: tuple[str, dict[int, Host]] | None = None
        self.database = _open(directory, root, group)

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    # ------------------------------------------------------------------ changing

    @contextlib.contextmanager
    def change(self) -> Generator[Change]:
        """One transaction over rows and boot files; leaving the block with an error undoes all of it.

        Inside `batch` it is a part of the batch's transaction, undone alone. Raises Unavailable.
        """
        if self._open_change is not None:
            with self._part(self._open_change) as part:
                yield part
            return
        with self._whole() as whole:
            yield whole

    @contextlib.contextmanager
    def batch(self) -> Generator[None]:
        """Changes made inside are committed together at the end: one wait for the disk instead of many."""
        with self._whole():
            yield

    @contextlib.contextmanager
    def _whole(self) -> Generator[Change]:
        self._lock.acquire(blocking=True)
        try:
            change = Change(self.database, self.disk, self.step)
            with _sqlite_errors(self.directory):
                change.begin()
            self._open_change = change
            try:
                with _sqlite_errors(self.directory):
                    yield change
                    change.commit()
            except BaseException:
                self._bookings = None
                change.undo()
                raise
            self._remember(change)
            with _sqlite_errors(self.directory):
                change.settle()
        finally:
            self._open_change = None
            self._lock.release()

    @contextlib.contextmanager
    def _part(self, whole: Change) -> Generator[Change]:
        with whole.savepoint():
            yield whole

    def _remember(self, change: Change) -> None:
        """Keep the cached bookings in step with what was just committed."""
        if self._bookings is None or self._bookings[0] != change.revision_before:
            self._bookings = None
            return
        known = self._bookings[1]
        for key, booking in change.touched.items():
            if booking is None:
                known.pop(key, None)
            else:
                known[key] = booking
        self._bookings = (change.revision, known)

    # ------------------------------------------------------------------ reading

    def bookings(self) -> dict[int, Booking]:
        """What every live reservation takes from the calendar, by id; the result must not be changed.

        Bit 0 of the masks stands for node 0.
        """
        inside = self._open_change
        revision = inside.revision_before if inside is not None else read_revision(self.database)
        if self._bookings is None or self._bookings[0] != revision:
            known = self._read_bookings()
            if inside is not None and inside.touched:
                return known  # holds what is not committed yet: not to be kept
            self._bookings = (revision, known)
        return self._bookings[1] if inside is None else inside.calendar(self._bookings[1])

    def _read_bookings(self) -> dict[int, Booking]:
        cursor = self.database.execute(
            "SELECT id, name, nodes, start_s, end_s, kind, waiting, state FROM reservation WHERE state <> 'ended'"
        )
        return {row[0]: rows.booking_of(row) for row in cursor}

    def live(self) -> list[Reservation]:
        """Every reservation that has not ended, oldest id first."""
        return self._reservations("state <> 'ended' ORDER BY id")

    def past(self, limit: int) -> list[Reservation]:
        """The reservations that ended last, latest first."""
        return self._reservations("state = 'ended' ORDER BY ended_s DESC, id DESC LIMIT ?", limit)

    def named(self, name: str) -> Reservation:
        """The live reservation of this name; raises NotFound."""
        found = self._reservations("name = ? AND state <> 'ended'", name)
        if not found:
            raise NotFound(f'there is no reservation "{name}"', hint="igor show lists them")
        return found[0]

    def reservation(self, key: int) -> Reservation:
        """A reservation, live or ended, by id; raises NotFound."""
        found = self._reservations("id = ?", key)
        if not found:
            raise NotFound(f'there is no reservation with the id "{key}"')
        return found[0]

    def owned(self, owner: str) -> list[Reservation]:
        """The live reservations of a person."""
        return self._reservations("owner = ? AND state <> 'ended' ORDER BY id", owner)

    def starting(self, now_s: int) -> list[Reservation]:
        """Planned reservations whose start has come, earliest first."""
        return self._reservations("state = 'planned' AND start_s <= ? ORDER BY start_s, id", now_s)

    def active(self) -> list[Reservation]:
        """Reservations that hold their nodes now, expired ones included."""
        return self._reservations("state = 'active' ORDER BY id")

    def waiting(self) -> list[Reservation]:
        """The queue, first come first."""
        return self._reservations("state = 'planned' AND waiting = 1 ORDER BY id")

    def _reservations(self, where: str, *values: str | int) -> list[Reservation]:
        query = f"SELECT {rows.RESERVATION_COLUMNS} FROM reservation WHERE {where}"  # noqa: S608 - no outside text
        with _sqlite_errors(self.directory):
            return [rows.reservation_of(row) for row in self.database.execute(query, values)]

    def hosts(self) -> dict[int, Host]:
        """What is known of nodes, by number; nodes of which nothing is known are absent. Not to be changed."""
        with _sqlite_errors(self.directory):
            row = self.database.execute("SELECT value FROM meta WHERE key = 'hosts'").fetchone()
            version = str(row[0]) if row else ""
            inside = self._open_change
            if self._hosts is not None and self._hosts[0] == version and not (inside and inside.described):
                return self._hosts[1]
            found = self.database.execute("SELECT number, body FROM host ORDER BY number").fetchall()
        known = {number: _host.decode(body) for number, body in found}
        if not (inside and inside.described):  # what is not committed yet is not to be kept
            self._hosts = (version, known)
        return known

    def blocked(self) -> list[int]:
        """The numbers of nodes that nobody may reserve."""
        known = self.hosts()
        if self._blocked is None or self._blocked[0] is not known:
            self._blocked = (known, [number for number, host in known.items() if host.blocked])
        return self._blocked[1]

    def images(self) -> list[Image]:
        """The kernels and initrds that are kept."""
        found = self.database.execute("SELECT hash, size, kind FROM image ORDER BY hash")
        return [Image(ContentHash(name), size, ImageKind(kind)) for name, size, kind in found]

    def boot_files(self) -> list[tuple[str, BootFile]]:
        """What must be below the TFTP root: relative path and content, images left out."""
        found = self.database.execute("SELECT path, content, link FROM boot_file ORDER BY path")
        return [(path, LinkTo(link) if link is not None else bytes(content)) for path, content, link in found]

    def marked(self) -> list[str]:
        """Paths that a change did not get to settle (inside a change: that it is going to)."""
        if self._open_change is not None:
            return []
        return [str(path) for (path,) in self.database.execute("SELECT path FROM pending ORDER BY path")]

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with the file itself."""
        with _sqlite_errors(self.directory):
            found = [str(row[0]) for row in self.database.execute("PRAGMA quick_check")]
        return [] if found == ["ok"] else found

    def profiles(self) -> dict[str, Profile]:
        """All profiles, by name."""
        found = self.database.execute("SELECT name, body FROM profile ORDER BY name")
        return {name: msgspec.json.decode(body, type=Profile) for name, body in found}

    def due_tasks(self, now_s: int, limit: int = 100) -> list[Task]:
        """Work whose time has come, oldest first."""
        found = self.database.execute(
            "SELECT id, reservation, due_s, tries, body FROM task WHERE due_s <= ? ORDER BY id LIMIT ?", (now_s, limit)
        )
        return [rows.task_of(row) for row in found]

    def probes(self) -> dict[int, tuple[bool, int]]:
        """What the last probe of each node found: whether it answered, and when (seconds since 1970)."""
        found = self.database.execute("SELECT number, up, at_s FROM probe")
        return {number: (bool(up), at_s) for number, up, at_s in found}

    def record_probes(self, up: dict[int, bool], now_s: int) -> None:
        """Remember what a probe found; not a change: touches no reservation and no boot file."""
        rows_found = [(number, int(answer), now_s) for number, answer in up.items()]
        with _sqlite_errors(self.directory), self.database:
            self.database.executemany("INSERT OR REPLACE INTO probe (number, up, at_s) VALUES (?, ?, ?)", rows_found)

    def token(self, hashed: str, now_s: int) -> tuple[int, str] | None:
        """The uid and name a token stands for, by its SHA-256; None when there is none or its time is over."""
        found = self.database.execute("SELECT uid, name FROM token WHERE hash = ? AND until_s > ?", (hashed, now_s))
        row = found.fetchone()
        return (int(row[0]), str(row[1])) if row else None

    def used(self, since_s: int, until_s: int) -> list[tuple[str, int, int]]:
        """For every reservation that was active between two times: its owner, node count, seconds inside them."""
        found = self.database.execute(
            "SELECT owner, nodes, max(start_s, ?1), min(CASE state WHEN 'ended' THEN ended_s ELSE ?2 END, ?2)"
            " FROM reservation WHERE kind <> 'maintenance' AND start_s < ?2"
            " AND (state = 'active' OR (state = 'ended' AND ended_s > ?1))",
            (since_s, until_s),
        )
        return [
            (owner, len(nodes.from_text(spans)), last_s - first_s)
            for owner, spans, first_s, last_s in found
            if last_s > first_s
        ]


def read_revision(database: sqlite3.Connection) -> int:
    """How many changes the store has seen."""
    row = database.execute("SELECT value FROM meta WHERE key = 'revision'").fetchone()
    return int(row[0]) if row else 0


@contextlib.contextmanager
def _sqlite_errors(directory: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _kind_of(error, directory) from error


def _kind_of(error: sqlite3.Error, directory: Path) -> MegaError:
    text = str(error)
    if "readonly" in text or "unable to open" in text:
        return PermissionDenied(f'cannot write igor\'s store in "{directory}"', hint="igor's service can: igor serve")
    if "malformed" in text or "not a database" in text:
        return Corrupt(f'igor\'s store in "{directory}" is damaged', hint="restore igor.db from a backup")
    return Unavailable(f'igor\'s store in "{directory}" cannot be used')


def _open(directory: Path, root: Path, group: int) -> sqlite3.Connection:
    if not root.is_dir():
        raise NotFound(f'there is no TFTP root "{root}"', hint="sudo igor setup makes it")
    path = directory / DATABASE
    new = not path.exists()
    try:
        if new:
            _make_directory(directory, group)
        database = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except PermissionError as error:
        raise PermissionDenied(f'cannot make igor\'s store in "{directory}"', hint="sudo igor setup") from error
    except (sqlite3.Error, OSError) as error:
        raise _unopened(error, directory) from error
    try:
        with _sqlite_errors(directory):
            database.execute("PRAGMA synchronous = FULL")
            version = int(database.execute("PRAGMA user_version").fetchone()[0])
            if version != schema.VERSION:
                _migrate(database, directory, group)
    except MegaError:
        database.close()
        raise
    return database


def _unopened(error: Exception, directory: Path) -> MegaError:
    if isinstance(error, sqlite3.Error):
        return _kind_of(error, directory)
    return Unavailable(f'cannot make igor\'s store in "{directory}"')


def _make_directory(directory: Path, group: int) -> None:
    parent = directory.parent
    if not parent.is_dir():
        parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        parent.chmod(0o755)
    directory.mkdir(mode=0o700, exist_ok=True)
    if group >= 0:
        os.chown(directory, -1, group)
        directory.chmod(0o2770)


def _migrate(database: sqlite3.Connection, directory: Path, group: int) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("BEGIN IMMEDIATE")  # whoever comes second finds the work done
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version > schema.VERSION:
        database.execute("ROLLBACK")
        raise InvalidState(
            f'igor\'s store in "{directory}" has version {version}, this igor knows {schema.VERSION}',
            hint="use the igor that wrote it, or a later one",
        )
    for number in range(version, schema.VERSION):
        for statement in schema.MIGRATIONS[number].split(";"):
            if statement.strip():
                database.execute(statement)
    database.execute(f"PRAGMA user_version = {schema.VERSION}")
    database.execute("COMMIT")
    if version == 0:
        _let_in(directory, group)


def _let_in(directory: Path, group: int) -> None:
    """The files of a new store are their owner's, or the group's; SQLite gives -wal and -shm the database's mode."""
    (directory / "lock").touch(mode=0o600)
    for name in (DATABASE, "lock"):
        place = directory / name
        if group >= 0:
            os.chown(place, -1, group)
        place.chmod(0o660 if group >= 0 else 0o600)
