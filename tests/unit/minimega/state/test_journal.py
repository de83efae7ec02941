"""The journal: durable when it returns, all or nothing, and nothing unknown is dropped."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.errors import Corrupt, Unavailable
from megatools.minimega.state.journal import Delete, Journal, Put, decode


class Body(msgspec.Struct):
    """Something to keep."""

    number: int


def test_what_was_written_is_read_by_the_next_daemon(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "host1")
    asyncio.run(
        journal.write(Put("vm", "b", "lab", Body(2)), Put("vm", "a", "lab", Body(1)), Put("tap", "t", "lab", Body(3)))
    )
    asyncio.run(journal.write(Delete("tap", "t")))
    # no close(): the process was killed
    again = Journal(tmp_path / "j.db", "host1")
    records = again.read("vm")
    assert [(record.id, record.host, record.namespace, record.schema) for record in records] == [
        ("a", "host1", "lab", 1),
        ("b", "host1", "lab", 1),
    ]
    assert [decode(record, Body).number for record in records] == [1, 2]
    assert again.read("tap") == []
    journal.close()
    again.close()


def test_many_writers_at_once_all_return_and_all_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "h")

    async def write_all() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(500):
                group.create_task(journal.write(Put("vm", f"{number:03d}", "n", Body(number))))

    asyncio.run(write_all())
    assert [decode(record, Body).number for record in journal.read("vm")] == list(range(500))
    journal.close()


def test_unknown_kinds_and_newer_schemas_stay(tmp_path: Path) -> None:
    Journal(tmp_path / "j.db", "h").close()
    with sqlite3.connect(tmp_path / "j.db") as database:
        database.execute("INSERT INTO records VALUES ('fork', 'x', 99, 'other', 'n', x'7b7d')")
    journal = Journal(tmp_path / "j.db", "h")
    asyncio.run(journal.write(Put("vm", "a", "n", Body(1))))
    (kept,) = journal.read("fork")
    assert (kept.schema, kept.host, kept.body) == (99, "other", b"{}")
    journal.close()


def test_a_change_that_cannot_be_encoded_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "h")
    with pytest.raises(TypeError):
        asyncio.run(journal.write(Put("vm", "a", "n", Body(1)), Put("vm", "b", "n", object())))
    assert journal.read("vm") == []
    asyncio.run(journal.write(Put("vm", "c", "n", Body(1))))
    assert [record.id for record in journal.read("vm")] == ["c"]
    journal.close()


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "h")
    with sqlite3.connect(tmp_path / "j.db") as database:
        database.execute("DROP TABLE records")
    with pytest.raises(Unavailable, match="cannot write the journal"):
        asyncio.run(journal.write(Put("vm", "a", "n", Body(1))))
    journal.close()


def test_garbage_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "j.db").write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(Corrupt) as caught:
        Journal(tmp_path / "j.db", "h")
    assert "move the file away" in caught.value.hint
    journal = Journal(tmp_path / "k.db", "h")
    asyncio.run(journal.write(Put("vm", "a", "n", "a text, not a Body")))
    with pytest.raises(Corrupt, match='journal record "vm/a" is unreadable'):
        decode(journal.read("vm")[0], Body)
    journal.close()
