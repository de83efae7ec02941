"""The store's tables and how older ones become them (`PRAGMA user_version`); used by `store.store` only.

A boot file is a row: what must be below the TFTP root, and for which reservation. A change marks the paths it touches
in `pending`, in the same transaction; after the commit those paths are made to agree with the rows, and unmarked. What
a crash left marked is done by the next change.
"""

from __future__ import annotations

VERSION = 1
"""The version this program writes; a newer store is refused."""

_FIRST = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE reservation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    grp TEXT NOT NULL,
    nodes TEXT NOT NULL,
    start_s INTEGER NOT NULL,
    end_s INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'active', 'ended')),
    kind TEXT NOT NULL,
    waiting INTEGER NOT NULL,
    kernel TEXT NOT NULL,
    initrd TEXT NOT NULL,
    vlan INTEGER NOT NULL,
    details BLOB NOT NULL,
    ended_s INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX reservation_name ON reservation (name) WHERE state <> 'ended';
CREATE INDEX reservation_live ON reservation (state, start_s) WHERE state <> 'ended';
CREATE INDEX reservation_owner ON reservation (owner) WHERE state <> 'ended';
CREATE INDEX reservation_kernel ON reservation (kernel) WHERE state <> 'ended';
CREATE INDEX reservation_initrd ON reservation (initrd) WHERE state <> 'ended';
CREATE INDEX reservation_past ON reservation (ended_s) WHERE state = 'ended';
CREATE TABLE host (number INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE image (hash TEXT PRIMARY KEY, size INTEGER NOT NULL, kind TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE profile (name TEXT PRIMARY KEY, kernel TEXT NOT NULL, initrd TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX profile_kernel ON profile (kernel);
CREATE INDEX profile_initrd ON profile (initrd);
CREATE TABLE boot_file (path TEXT PRIMARY KEY, reservation INTEGER NOT NULL, content BLOB, link TEXT) STRICT;
CREATE INDEX boot_file_reservation ON boot_file (reservation);
CREATE TABLE pending (path TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE task (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    reservation INTEGER NOT NULL,
    due_s INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX task_due ON task (due_s);
CREATE INDEX task_reservation ON task (reservation);
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_s INTEGER NOT NULL,
    person TEXT NOT NULL,
    what TEXT NOT NULL,
    reservation INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX event_at ON event (at_s);
CREATE TABLE probe (number INTEGER PRIMARY KEY, up INTEGER NOT NULL, at_s INTEGER NOT NULL) STRICT;
CREATE TABLE token (hash TEXT PRIMARY KEY, uid INTEGER NOT NULL, name TEXT NOT NULL, until_s INTEGER NOT NULL) STRICT;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
"""Script number i brings a store from version i to i + 1."""
