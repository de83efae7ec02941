"""One change of the store and of the boot files; made by `Store.change` only, used by `run` and `api`."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

import msgspec

from megatools.hostkit.bootid import boot_id
from megatools.hostkit.errors import AlreadyExists, PermissionDenied, Unavailable, chain_text
from megatools.igor.model.host import Host
from megatools.igor.model.image import BootFile, ContentHash, Image, LinkTo, Profile, image_path
from megatools.igor.model.nodes import NodeSet
from megatools.igor.model.reservation import Kind, Reservation, ReservationId, State, TaskKind
from megatools.igor.plan.calendar import Booking
from megatools.igor.store import rows
from megatools.igor.store.disk import FILE_MODE, Disk

Step = Callable[[str], None]
"""Called with a word between any two steps of a change, for tests that end the process there."""

_INSERT = (
    "INSERT INTO reservation (name, owner, grp, nodes, start_s, end_s, state, kind, waiting, kernel, initrd, vlan,"
    " details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE reservation SET name = ?, owner = ?, grp = ?, nodes = ?, start_s = ?, end_s = ?, state = ?, kind = ?,"
    " waiting = ?, kernel = ?, initrd = ?, vlan = ?, details = ?, ended_s = ? WHERE id = ?"
)


class Change:
    """Rows and boot files that change together."""

    def __init__(self, database: sqlite3.Connection, disk: Disk, step: Step) -> None:
        self._database = database
        self._disk = disk
        self._step = step
        self._adopted: list[Path] = []
        self._left: set[str] = set()  # paths that an earlier change did not get to
        self._freed_images = False
        self._staged: list[tuple[int, str, bool]] = []  # number, path, whether it was staged (else it is removed)
        self.touched: dict[int, Booking | None] = {}
        self._calendar: dict[int, Booking] | None = None  # made when it is first asked for
        self.revision_before = 0
        self.revision = 0
        self.unsettled: list[str] = []
        self.freed = 0  # how often this change freed nodes or moved a reservation
        self.caught_up: tuple[int, int] | None = None  # for which time and `freed` that was followed up (run)
        self.described = False  # what is known of nodes has changed
        self.lenient = False  # repairing: a file that cannot be written is reported in `unsettled`, not raised

    # ------------------------------------------------------------------ the transaction (called by Store)

    def begin(self) -> None:
        """Start; the caller holds the lock."""
        self._step("locked")
        self._disk.sweep()
        self._database.execute("BEGIN IMMEDIATE")
        self._left = {path for (path,) in self._database.execute("SELECT path FROM pending")}
        self.revision_before = int(self._meta("revision") or "0")
        here = boot_id()
        if self._meta("boot_id") != here:
            self.mark_all()
            self._put_meta("boot_id", here)
        self._step("begun")

    def commit(self) -> None:
        """Write new files aside and commit; after this the change has happened."""
        if self._freed_images:
            self._drop_unused_images()
        self._stage_pending()
        self.revision = self.revision_before + 1
        self._put_meta("revision", str(self.revision))
        self._step("staged")
        self._database.execute("COMMIT")
        self._step("committed")

    def _stage_pending(self) -> None:
        marked = self._database.execute(
            "SELECT p.path, f.path, f.content, f.link FROM pending p LEFT JOIN boot_file f ON f.path = p.path"
        ).fetchall()
        for number, (path, known, content, link) in enumerate(marked):
            if known is not None:
                wanted = LinkTo(link) if link is not None else bytes(content)
                try:
                    self._disk.stage(number, path, wanted)
                except (Unavailable, PermissionDenied) as error:
                    if not self.lenient and path not in self._left:
                        raise
                    self.unsettled.append(chain_text(error))  # what a crash left must not stand in everybody's way
                    continue
                self._step(f"staged {path}")
            self._staged.append((number, path, known is not None))

    def settle(self) -> None:
        """Move the new files into place and unmark their paths; what fails stays marked, and in `unsettled`."""
        settled: list[tuple[str]] = []
        for number, path, present in self._staged:
            try:
                if present:
                    self._disk.settle(number, path)
                else:
                    self._disk.remove(path)
            except (Unavailable, PermissionDenied) as error:
                self.unsettled.append(chain_text(error))
                continue
            settled.append((path,))
            self._step(f"settled {path}")
        if not settled:
            return
        # No need to wait for the disk: a power cut brings marks back at worst, and settling again changes nothing.
        self._database.execute("PRAGMA synchronous = NORMAL")
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("DELETE FROM pending WHERE path = ?", settled)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:  # the change has happened: it must not look as if it had not
            self.unsettled.append(f"boot files stay marked: {error}")
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        finally:
            self._database.execute("PRAGMA synchronous = FULL")
        self._step("unmarked")

    def undo(self) -> None:
        """Roll back; also removes images that were moved in for nothing."""
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")
        self._forget_adopted(0)
        self._disk.sweep()

    @contextlib.contextmanager
    def savepoint(self) -> Generator[None]:
        """A part that can be undone alone."""
        touched, adopted, freed = dict(self.touched), len(self._adopted), self._freed_images
        described = self.described
        self._database.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK TO part")
            self._database.execute("RELEASE part")
            self.touched, self._freed_images, self.described = touched, freed, described
            self._calendar, self.caught_up = None, None
            self._forget_adopted(adopted)
            raise
        self._database.execute("RELEASE part")

    def _forget_adopted(self, kept: int) -> None:
        for place in self._adopted[kept:]:
            place.unlink(missing_ok=True)
        del self._adopted[kept:]

    # ------------------------------------------------------------------ reservations

    def add(self, reservation: Reservation) -> Reservation:
        """Keep a new reservation; its id is given here. Raises AlreadyExists for the name of a live one."""
        try:
            cursor = self._database.execute(_INSERT, rows.columns_of(reservation))
        except sqlite3.IntegrityError as error:
            raise _taken(reservation.name) from error
        assert cursor.lastrowid is not None
        added = msgspec.structs.replace(reservation, id=ReservationId(cursor.lastrowid))
        self._touch(added)
        return added

    def put(self, reservation: Reservation, *, frees: bool = True) -> None:
        """Replace what is kept of a live reservation; raises AlreadyExists for the name of another live one.

        `frees`: others may have more room now than before.
        """
        self._write(reservation, 0, frees=frees)

    def end(self, reservation: Reservation, now_s: int) -> None:
        """The reservation is history: its boot files and unsent notices go, its images too unless others use them."""
        self._write(msgspec.structs.replace(reservation, state=State.ENDED), now_s, frees=True)
        self.set_boot_files(reservation.id, {})
        self._database.execute("DELETE FROM task WHERE reservation = ? AND due_s > ?", (reservation.id, now_s))

    def _write(self, reservation: Reservation, ended_s: int, *, frees: bool) -> None:
        try:
            self._database.execute(_UPDATE, (*rows.columns_of(reservation), ended_s, reservation.id))
        except sqlite3.IntegrityError as error:
            raise _taken(reservation.name) from error
        self._freed_images = True
        self.freed += frees
        self._touch(reservation)

    def _touch(self, reservation: Reservation) -> None:
        booking = None if reservation.state is State.ENDED else _booking(reservation)
        self.touched[reservation.id] = booking
        if self._calendar is not None:
            _apply(self._calendar, reservation.id, booking)

    def calendar(self, known: dict[int, Booking]) -> dict[int, Booking]:
        """What was booked before, with what this change did to it; it follows what this change does further."""
        if self._calendar is None:
            self._calendar = dict(known)
            for key, booking in self.touched.items():
                _apply(self._calendar, key, booking)
        return self._calendar

    # ------------------------------------------------------------------ files

    def set_boot_files(self, reservation: ReservationId, files: Mapping[str, BootFile]) -> None:
        """From now on a reservation has exactly these files below the TFTP root (relative path to content)."""
        found = self._database.execute(
            "SELECT path, content, link FROM boot_file WHERE reservation = ?", (reservation,)
        ).fetchall()
        before: dict[str, BootFile] = {
            path: LinkTo(link) if link is not None else bytes(content) for path, content, link in found
        }
        changed = [path for path, wanted in files.items() if before.get(path) != wanted]
        gone = [path for path in before if path not in files]
        self._database.executemany("DELETE FROM boot_file WHERE path = ?", [(path,) for path in gone])
        self._database.executemany(
            "INSERT OR REPLACE INTO boot_file (path, reservation, content, link) VALUES (?, ?, ?, ?)",
            [(path, reservation, *_columns(files[path])) for path in changed],
        )
        self.mark(*changed, *gone)

    def mark(self, *paths: str) -> None:
        """Make these paths agree with the store when this change is over."""
        self._database.executemany("INSERT OR IGNORE INTO pending (path) VALUES (?)", [(path,) for path in paths])

    def mark_all(self) -> None:
        """Look at every boot file when this change is over."""
        self._database.execute("INSERT OR IGNORE INTO pending (path) SELECT path FROM boot_file")

    def adopt(self, image: Image, temporary: Path) -> None:
        """Take a copied kernel or initrd in; nothing happens to one that is there already.

        The temporary file is moved or left for the caller to remove.
        """
        place = self._disk.root / image.path()
        if not place.exists():
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            temporary.chmod(FILE_MODE)
            os.replace(temporary, place)
            self._adopted.append(place)
        self._database.execute(
            "INSERT OR IGNORE INTO image (hash, size, kind) VALUES (?, ?, ?)",
            (image.hash, image.size, image.kind.value),
        )
        self._database.execute("DELETE FROM pending WHERE path = ?", (image.path(),))
        self._freed_images = True  # when this request keeps it after all, it is used by then
        self._step(f"adopted {image.kind.value}")

    def collect_images(self) -> None:
        """Remove images that nothing uses when this change is over."""
        self._freed_images = True

    def _drop_unused_images(self) -> None:
        unused = self._database.execute(
            "SELECT hash FROM image i WHERE NOT EXISTS"
            " (SELECT 1 FROM reservation r WHERE r.kernel = i.hash AND r.state <> 'ended') AND NOT EXISTS"
            " (SELECT 1 FROM reservation r WHERE r.initrd = i.hash AND r.state <> 'ended') AND NOT EXISTS"
            " (SELECT 1 FROM profile p WHERE p.kernel = i.hash OR p.initrd = i.hash)"
        ).fetchall()
        self._database.executemany("DELETE FROM image WHERE hash = ?", unused)
        self.mark(*(image_path(ContentHash(name)) for (name,) in unused))

    # ------------------------------------------------------------------ everything else

    def set_host(self, host: Host) -> None:
        """Replace what is known of a node."""
        if not self.described:
            self.described = True
            self._put_meta("hosts", str(self.revision_before + 1))
        body = msgspec.json.encode(host)
        self._database.execute("INSERT OR REPLACE INTO host (number, body) VALUES (?, ?)", (host.number, body))

    def set_profile(self, profile: Profile) -> None:
        """Keep a profile, in place of one of the same name."""
        self._database.execute(
            "INSERT OR REPLACE INTO profile (name, kernel, initrd, body) VALUES (?, ?, ?, ?)",
            (profile.name, profile.kernel, profile.initrd, msgspec.json.encode(profile)),
        )
        self._freed_images = True

    def remove_profile(self, name: str) -> None:
        """Forget a profile; nothing happens when there is none."""
        self._database.execute("DELETE FROM profile WHERE name = ?", (name,))
        self._freed_images = True

    def add_task(
        self,
        kind: TaskKind,
        reservation: Reservation,
        *,
        due_s: int,
        text: str = "",
        person: str = "",
        nodes: NodeSet | None = None,
    ) -> None:
        """Work to be done after this change; by default it concerns the owner and all nodes of the reservation."""
        chosen = reservation.nodes if nodes is None else nodes
        body = rows.task_body(kind, reservation.name, person or reservation.owner, chosen, text, reservation.vlan)
        self._database.execute(
            "INSERT INTO task (reservation, due_s, body) VALUES (?, ?, ?)", (reservation.id, due_s, body)
        )

    def finish_task(self, task: int) -> None:
        """The work is done, or given up."""
        self._database.execute("DELETE FROM task WHERE id = ?", (task,))

    def retry_task(self, task: int, due_s: int) -> None:
        """The work failed and is tried again later."""
        self._database.execute("UPDATE task SET tries = tries + 1, due_s = ? WHERE id = ?", (due_s, task))

    def cancel_tasks(self, reservation: ReservationId, kind: TaskKind, after_s: int) -> None:
        """Forget a reservation's tasks of a kind that are due after a time (notices whose time has moved)."""
        found = self._database.execute(
            "SELECT id, reservation, due_s, tries, body FROM task WHERE reservation = ? AND due_s > ?",
            (reservation, after_s),
        ).fetchall()
        for row in found:
            if rows.task_of(row).kind is kind:
                self.finish_task(row[0])

    def event(self, now_s: int, person: str, what: str, reservation: ReservationId, text: str = "") -> None:
        """Write to the history: who did what to which reservation."""
        self._database.execute(
            "INSERT INTO event (at_s, person, what, reservation, text) VALUES (?, ?, ?, ?, ?)",
            (now_s, person, what, reservation, text),
        )

    def add_token(self, hashed: str, uid: int, name: str, until_s: int, now_s: int) -> None:
        """Let whoever knows a secret (given as its SHA-256) ask in a person's name; old tokens are forgotten."""
        self._database.execute("DELETE FROM token WHERE until_s <= ?", (now_s,))
        self._database.execute(
            "INSERT INTO token (hash, uid, name, until_s) VALUES (?, ?, ?, ?)", (hashed, uid, name, until_s)
        )

    def _meta(self, key: str) -> str:
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def _put_meta(self, key: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def _apply(calendar: dict[int, Booking], key: int, booking: Booking | None) -> None:
    if booking is None:
        calendar.pop(key, None)
    else:
        calendar[key] = booking


def _columns(wanted: BootFile) -> tuple[bytes | None, str | None]:
    return (None, wanted.path) if isinstance(wanted, LinkTo) else (wanted, None)


def _booking(reservation: Reservation) -> Booking:
    return Booking(
        reservation.id,
        reservation.name,
        0 if reservation.state is State.ACTIVE else reservation.start_s,
        reservation.end_s,
        reservation.nodes.mask(0),
        reservation.kind is Kind.BEST_EFFORT,
        reservation.waiting,
        reservation.state is State.ACTIVE,
    )


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f'there is a reservation "{name}" already', hint="choose another name, or delete it first")
