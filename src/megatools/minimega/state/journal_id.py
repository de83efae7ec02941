"""Which journal this is: a name it was given when it was made, so that others notice when a host lost its memory."""

from __future__ import annotations

import secrets

import msgspec

from megatools.minimega.state.journal import Journal, Put, decode

KIND, _ID = "journal-id", "this journal"


class JournalId(msgspec.Struct, frozen=True):
    """Journal kind `journal-id`."""

    id: str


def journal_id(journal: Journal) -> str:
    """The name of a journal, given now if it has none; queued before whatever is written after this."""
    for record in journal.read(KIND):
        return decode(record, JournalId).id
    made = JournalId(secrets.token_hex(8))
    journal.begin(Put(KIND, _ID, "", made))
    return made.id
