"""Shared records: the latest wins in whatever order entries arrive, and a restart forgets nothing."""

import asyncio
import sqlite3
from itertools import permutations
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.errors import InvalidInput, Unavailable
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import TOMBSTONE_MS, Entry, Shared
from megatools.minimega.state.stamps import Stamp, StampClock


class Note(msgspec.Struct, frozen=True):
    """A record."""

    text: str


async def _written(path: Path, node: str, texts: list[str | None], now_ms: int) -> list[Entry]:
    journal = Journal(path / f"{node}.db", node)
    shared = Shared(journal, StampClock(node, lambda: now_ms))
    told: list[Entry] = []
    shared.carry(told.extend)
    for text in texts:
        await (shared.remove("note", "a") if text is None else shared.put("note", "a", Note(text)))
    journal.close()
    return told


async def test_every_order_of_arrival_gives_the_same_record(tmp_path: Path) -> None:
    entries = await _written(tmp_path, "kn1", ["x", None], 100) + await _written(tmp_path, "kn2", ["y", "z"], 100)
    for number, order in enumerate(permutations(entries)):
        journal = Journal(tmp_path / f"{number}.db", "kn3")
        shared = Shared(journal, StampClock("kn3"))
        for entry in order:
            await shared.merge([entry])
        assert shared.get("note", "a", Note) == Note("z")
        assert not await shared.merge(entries)
        journal.close()


async def test_a_clock_that_is_behind_still_writes_the_latest(tmp_path: Path) -> None:
    ahead = await _written(tmp_path, "kn1", ["from the future"], 10_000_000)
    journal = Journal(tmp_path / "late.db", "kn2")
    shared = Shared(journal, StampClock("kn2", lambda: 5))
    seen: list[str] = []
    shared.watch("note", seen.append)
    await shared.merge(ahead)
    await shared.put("note", "a", Note("after that"))
    assert shared.all("note", Note) == {"a": Note("after that")}
    assert seen == ["a", "a"]
    journal.close()


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    await _written(tmp_path, "kn1", ["kept"], 100)
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1", lambda: 1))
    shared.recover()
    assert shared.get("note", "a", Note) == Note("kept")
    told: list[Entry] = []
    shared.carry(told.extend)
    await shared.put("note", "a", Note("newer"))
    assert told[0].stamp.time_ms >= 100
    journal.close()


async def test_the_journal_never_holds_an_older_entry_than_the_memory(tmp_path: Path) -> None:
    theirs = await _written(tmp_path, "kn2", ["from kn2"], 100)
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1", lambda: 200))
    await asyncio.gather(
        shared.put("note", "a", Note("first")), shared.put("note", "a", Note("second")), shared.merge(theirs)
    )
    assert shared.get("note", "a", Note) == Note("second")
    again = Shared(journal, StampClock("kn1"))
    again.recover()
    assert again.entries() == shared.entries()
    assert again.digest.root == shared.digest.root
    journal.close()


async def test_a_write_whose_asker_has_left_counts_once_it_is_durable(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1"))
    seen = asyncio.Event()
    shared.watch("note", lambda _: seen.set())
    task = asyncio.create_task(shared.put("note", "a", Note("x")))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(seen.wait(), 10)
    assert shared.get("note", "a", Note) == Note("x")
    journal.close()


async def test_what_the_disk_refuses_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1"))
    await shared.put("note", "a", Note("kept"))
    with sqlite3.connect(tmp_path / "kn1.db") as database:
        database.execute("ALTER TABLE records RENAME TO away")
    with pytest.raises(Unavailable):
        await shared.put("note", "a", Note("refused"))
    with sqlite3.connect(tmp_path / "kn1.db") as database:
        database.execute("ALTER TABLE away RENAME TO records")
    assert shared.get("note", "a", Note) == Note("kept")
    await shared.put("note", "a", Note("newer"))
    assert shared.get("note", "a", Note) == Note("newer")
    journal.close()


async def test_records_are_written_together_and_removed_together(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1"))
    told: list[list[str]] = []
    shared.carry(lambda entries: told.append([entry.id for entry in entries]))
    await shared.put_all("note", {"a": Note("1"), "b": Note("2"), "absent": None})
    await shared.put_all("note", {"a": None, "c": Note("3")})
    assert sorted(shared.all("note", Note)) == ["b", "c"]
    assert told == [["a", "b"], ["a", "c"]]
    journal.close()


async def test_old_tombstones_are_collected_and_not_taken_again(tmp_path: Path) -> None:
    now = [TOMBSTONE_MS]
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1", lambda: now[0]))
    await shared.put_all("note", {"a": Note("x"), "b": Note("y")})
    await shared.remove("note", "a")
    stones = shared.entries()
    await shared.collect()
    assert len(shared.entries()) == 2
    now[0] += TOMBSTONE_MS + 3_600_000
    await shared.collect()
    assert [entry.id for entry in shared.entries()] == ["b"]
    assert not await shared.merge(stones)
    again = Shared(journal, StampClock("kn1"))
    again.recover()
    assert again.digest.root == shared.digest.root
    journal.close()


async def test_too_many_tombstones_are_let_go_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatools.minimega.state.shared.MOST_TOMBSTONES", 3)
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1"))
    for name in "abcde":
        await shared.put("note", name, Note(name))
        await shared.remove("note", name)
    await shared.collect()
    assert sorted(entry.id for entry in shared.entries()) == ["c", "d", "e"]
    journal.close()


async def test_a_record_stamped_far_ahead_is_agreed_on_and_can_be_outdone(tmp_path: Path) -> None:
    ahead = await _written(tmp_path, "kn9", ["from 2100"], 4_102_444_800_000)
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1", lambda: 1_000))
    await shared.merge(ahead)
    await shared.put("note", "b", Note("today"))
    await shared.put("note", "a", Note("in its place"))
    assert {entry.id: entry.stamp.time_ms for entry in shared.entries()} == {"a": 4_102_444_800_000, "b": 1_000}
    assert shared.get("note", "a", Note) == Note("in its place")
    journal.close()


@pytest.mark.parametrize(
    "entry",
    [
        Entry("note", "a", Stamp(1 << 60, 0, "kn2"), msgspec.Raw(b"{}")),
        Entry("note", "a", Stamp(1, -1, "kn2"), msgspec.Raw(b"{}")),
        Entry("no/te", "a", Stamp(1, 1, "kn2"), msgspec.Raw(b"{}")),
        Entry("note", "a", Stamp(1, 1, "kn2"), msgspec.Raw(b'"' + b"x" * (1 << 20) + b'"')),
    ],
)
async def test_entries_no_node_writes_are_refused(tmp_path: Path, entry: Entry) -> None:
    journal = Journal(tmp_path / "kn1.db", "kn1")
    with pytest.raises(InvalidInput, match="cannot be kept"):
        await Shared(journal, StampClock("kn1")).merge([entry])
    journal.close()


async def test_a_record_with_the_stamp_it_came_with_counts_unless_a_later_one_is_known(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "kn1.db", "kn1")
    shared = Shared(journal, StampClock("kn1"))
    await shared.put_stamped("table", "ns", Stamp(7, 0, "kn2"), Note("seven"))
    await shared.put_stamped("table", "ns", Stamp(5, 0, "kn3"), Note("five"))
    assert shared.get("table", "ns", Note) == Note("seven")
    await shared.put_stamped("table", "ns", Stamp(8, 0, "kn1"), None)
    assert shared.get("table", "ns", Note) is None
    journal.close()
