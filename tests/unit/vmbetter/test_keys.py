"""Keys change with everything that goes into a stage; the cache holds whole entries or none; overlays stay inside."""

import os
import shutil
import tarfile
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.bootstrap.apt import Offer
from megatools.hostkit.errors import Corrupt
from megatools.vmbetter import lock as locks
from megatools.vmbetter import plan
from megatools.vmbetter.cache import Cache, Entry, Stored, key_of
from megatools.vmbetter.finished import FinishedTree
from megatools.vmbetter.lock import Lock
from megatools.vmbetter.stages import overlays


def offer(name: str = "a", sha256: str = "1") -> Offer:
    return Offer(name, "1", "amd64", sha256, 1, 1, "optional")


def test_a_lock_answers_only_what_it_was_made_for_and_its_digest_follows_content() -> None:
    lock = Lock("bookworm", "amd64", ("a",), (), 5, (offer(),))
    assert lock.answers("bookworm", "amd64", ("a",), ())
    assert not lock.answers("trixie", "amd64", ("a",), ())
    assert not lock.answers("bookworm", "arm64", ("a",), ())
    assert not lock.answers("bookworm", "amd64", ("a", "b"), ())
    assert not lock.answers("bookworm", "amd64", ("a",), ("local",))
    later = msgspec.structs.replace(lock, date=9)
    newer = msgspec.structs.replace(lock, packages=(offer(sha256="2"),))
    assert later.digest() == lock.digest() != newer.digest()


def test_a_lock_file_comes_back_as_it_was_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert locks.read(path) is None
    lock = Lock("bookworm", "amd64", ("a",), (), 5, (offer(),))
    locks.write(path, lock)
    assert locks.read(path) == lock
    path.write_text("{")
    with pytest.raises(Corrupt, match=r"x\.lock.*damaged"):
        locks.read(path)


def test_the_tree_keys_follow_scripts_overlays_and_date() -> None:
    below = plan.overlays_key("s", [[["a", 1]]], 1)
    changed = {below, plan.overlays_key("t", [[["a", 1]]], 1), plan.overlays_key("s", [[["a", 2]]], 1)}
    assert len(changed | {plan.overlays_key("s", [[["a", 1]]], 2)}) == 4
    keys = {plan.postbuild_key(below, ["a"]), plan.postbuild_key(below, ["b"]), plan.postbuild_key(below, ["a", "b"])}
    assert len(keys | {plan.postbuild_key("other", ["a"])}) == 4


def test_an_overlays_digest_follows_content_modes_and_links(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("one")
    (tmp_path / "l").symlink_to("d")
    seen = [overlays.digest(tmp_path)]
    (tmp_path / "d/f").write_text("two")
    seen.append(overlays.digest(tmp_path))
    (tmp_path / "d/f").chmod(0o755)
    seen.append(overlays.digest(tmp_path))
    (tmp_path / "l").unlink()
    (tmp_path / "l").symlink_to("e")
    seen.append(overlays.digest(tmp_path))
    assert all(seen[number] not in seen[:number] for number in range(4))


def test_names_and_attributes_that_are_no_text_have_keys_of_their_own(tmp_path: Path) -> None:
    over = tmp_path / "over"
    seen: set[str] = set()
    for name in (b"x\xff", b"x\xfe", b"x\\xff"):
        over.mkdir()
        Path(os.fsdecode(os.fsencode(over) + b"/" + name)).write_text("")
        os.symlink(b"to \xff", os.fsencode(over) + b"/link")
        seen.add(key_of(overlays.digest(over)))
        layer = overlays.make([over], [], tmp_path / "layer.tar", epoch=1)
        with tarfile.open(layer.tar) as made:
            assert sorted(os.fsencode(one.name) for one in made) == sorted([b"./link", b"./" + name])
        shutil.rmtree(over)
    assert len(seen) == 3
    assert overlays.plain("x\udcff\\") == "\0x\\xff\\\\"


def test_pruning_by_age_takes_no_age_for_no_condition(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.held(print):
        published(cache, "one")
        assert cache.prune(keep_bytes=1 << 40, older_than_s=3600) == []
        assert cache.prune(keep_bytes=1 << 40) == []
        assert [one.key for one in cache.prune(keep_bytes=1 << 40, older_than_s=0)] == ["key"]


def published(cache: Cache, content: str) -> None:
    with cache.workspace() as workspace:
        (workspace / "f").write_text(content)
        cache.publish("layers", "key", {"f": workspace / "f"}, {"note": "n"})


def test_the_cache_gives_back_whole_entries_and_drops_damaged_ones(tmp_path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.held(print):
        assert cache.find("layers", "key") is None
        published(cache, "one")
        published(cache, "two")
        entry = cache.find("layers", "key")
        assert entry is not None
        assert entry.notes == {"note": "n"}
        assert cache.verified(entry, "f").read_text() == "two"
        entry.path("f").write_text("bad")  # of the same size
    with cache.held(print):
        with pytest.raises(Corrupt):
            cache.verified(entry, "f")
        assert cache.find("layers", "key") is None
        published(cache, "one")
        Path(entry.folder, "f").write_text("longer")
        assert cache.find("layers", "key") is None


def test_a_build_without_the_cache_makes_what_is_derived_anew_but_only_once(tmp_path: Path) -> None:
    made: list[str] = []

    def make(tar: Path) -> Path:
        made.append(tar.name)
        (tar.parent / "file").write_text(f"{len(made)}")
        return tar.parent / "file"

    cache = Cache(tmp_path)
    base = Entry(str(tmp_path), {"tree.tar.zst": Stored(1, "of the tree")})
    with cache.held(print), cache.workspace() as workspace:
        (workspace / "base.tar").write_text("")
        trees = [FinishedTree(cache, base, None, workspace, use_cache=use) for use in (True, True, False, False)]
        read = [tree.of_base("segment", make).read_text() for tree in (*trees, trees[-1])]
    assert read == ["1", "1", "2", "3", "3"]


def test_leftovers_of_a_dead_build_are_cleared(tmp_path) -> None:
    (tmp_path / "work/dead/tree").mkdir(parents=True)
    with Cache(tmp_path).held(print):
        assert not (tmp_path / "work").exists()


def test_an_image_is_named_up_to_the_first_dot() -> None:
    assert plan.image_name("a/b.c/kane_host.x.conf") == "kane_host"


def test_what_goes_away_while_the_cache_is_listed_is_left_out(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.held(print):
        published(cache, "one")
    (tmp_path / "layers/gone").symlink_to("renamed-meanwhile")
    assert [one.key for one in cache.contents()] == ["key"]
