"""Nodes that were met are dialled again while they are away, less and less often, and not for ever."""

from itertools import pairwise
from pathlib import Path

from megatools.minimega.mesh.peer_book import PeerBook


def test_the_absent_are_due_less_and_less_often():
    book = PeerBook(None)
    book.met("kn1", "a:9000", 0)
    book.met("kn2", "b:9000", 0)
    dialled = [now for now in range(0, 400, 5) if "a:9000" in book.due({"kn2"}, now)]
    assert dialled[:5] == [0, 5, 15, 35, 75]
    assert {later - earlier for earlier, later in pairwise(dialled[4:])} == {60}
    book.met("kn1", "c:9000", 400)
    assert book.due({"kn1", "kn2"}, 400) == []
    assert book.due({"kn2"}, 401) == ["c:9000"], "one that was there meanwhile is tried at once"


def test_a_few_at_a_time_and_each_has_its_turn():
    book = PeerBook(None)
    for number in range(7):
        book.met(f"kn{number}", f"{number}:9000", 0)
    turns = [tuple(book.due((), now)) for now in (0, 1, 2)]
    assert [len(turn) for turn in turns] == [3, 3, 1]
    assert len({address for turn in turns for address in turn}) == 7


def test_who_was_not_met_for_a_week_is_forgotten():
    book = PeerBook(None)
    book.met("kn1", "a:9000", 0)
    assert book.due((), 8 * 86400) == []


def test_it_is_kept_on_disk(tmp_path: Path):
    path = tmp_path / "peers.json"
    book = PeerBook(path)
    book.met("kn1", "a:9000", 100)
    book.save()
    assert PeerBook(path).due((), 200) == ["a:9000"]
    written = path.stat().st_mtime_ns
    book.met("kn1", "a:9000", 105)
    book.save()
    assert path.stat().st_mtime_ns == written, "nothing new to write"
    book.met("kn1", "a:9000", 8 * 86400)
    book.save()
    assert PeerBook(path).due((), 9 * 86400) == ["a:9000"], "met again after a quiet week"
    path.write_text("{")
    assert PeerBook(path).due((), 200) == []


def test_a_directory_that_takes_nothing_costs_only_the_file_and_is_tried_again(tmp_path: Path):
    path = tmp_path / "cluster" / "peers"
    book = PeerBook(path)
    book.met("kn1", "a:9000", 0)
    book.save()
    assert book.due((), 1) == ["a:9000"]
    path.parent.mkdir()
    book.save()
    assert PeerBook(path).due((), 1) == ["a:9000"]
