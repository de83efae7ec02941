"""Shared records: the latest wins in whatever order entries arrive, and a restart forgets nothing."""

from itertools import permutations
from pathlib import Path

import msgspec

from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Entry, Shared


class Note(msgspec.Struct, frozen=True):
    """A record."""

    text: str


async def _written(path: Path, node: str, texts: list[str | None], now_ms: int) -> list[Entry]:
    journal = Journal(path / f"{node}.db", node)
    shared = Shared(journal, node, lambda: now_ms)
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
        shared = Shared(journal, "kn3")
        for entry in order:
            await shared.merge([entry])
        assert shared.get("note", "a", Note) == Note("z")
        assert not await shared.merge(entries)
        journal.close()


async def test_a_clock_that_is_behind_still_writes_the_latest(tmp_path: Path) -> None:
    ahead = await _written(tmp_path, "kn1", ["from the future"], 10_000_000)
    journal = Journal(tmp_path / "late.db", "kn2")
    shared = Shared(journal, "kn2", lambda: 5)
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
    shared = Shared(journal, "kn1", lambda: 1)
    shared.recover()
    assert shared.get("note", "a", Note) == Note("kept")
    told: list[Entry] = []
    shared.carry(told.extend)
    await shared.put("note", "a", Note("newer"))
    assert told[0].stamp.time_ms >= 100
    journal.close()
