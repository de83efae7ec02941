"""Keys change with everything that goes into a stage; the cache holds whole entries or none; overlays stay inside."""

from pathlib import Path

import pytest

from megatools.hostkit.bootstrap.mmdebstrap import Request
from megatools.hostkit.errors import Corrupt, InvalidInput
from megatools.vmbetter import plan
from megatools.vmbetter.cache import Cache
from megatools.vmbetter.config.recipe import Entry, Recipe
from megatools.vmbetter.config.source import Position
from megatools.vmbetter.stages import overlays, packages


def test_the_packages_key_follows_request_and_engine() -> None:
    one = Request("bookworm", ("a",))
    keys = {
        packages.key(one, "1"),
        packages.key(one, "2"),
        packages.key(Request("trixie", ("a",)), "1"),
        packages.key(Request("bookworm", ("a", "b")), "1"),
        packages.key(Request("bookworm", ("a",), epoch=5), "1"),
    }
    assert len(keys) == 5
    assert packages.key(Request("bookworm", ("a",)), "1") in keys


def test_the_tree_key_follows_scripts_but_not_where_they_stand() -> None:
    def key(script: str, line: int = 1, sha: str = "s") -> str:
        entry = Entry(script, Position("x", line, 1))
        return plan.tree_key(sha, Recipe(("x",), (), (), (entry,)), [], epoch=1)

    assert key("a") == key("a", line=9)
    assert len({key("a"), key("b"), key("a", sha="t")}) == 3


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


def published(cache: Cache, content: str) -> None:
    with cache.workspace() as workspace:
        (workspace / "f").write_text(content)
        cache.publish("kind", "key", {"f": workspace / "f"}, {"note": "n"})


def test_the_cache_gives_back_whole_entries_and_drops_damaged_ones(tmp_path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.held(print):
        assert cache.find("kind", "key") is None
        published(cache, "one")
        published(cache, "two")
        entry = cache.find("kind", "key")
        assert entry is not None
        assert entry.notes == {"note": "n"}
        assert cache.verified(entry, "f").read_text() == "two"
        entry.path("f").write_text("bad")  # of the same size
        with pytest.raises(Corrupt):
            cache.verified(entry, "f")
        assert cache.find("kind", "key") is None
        published(cache, "one")
        Path(entry.folder, "f").write_text("longer")
        assert cache.find("kind", "key") is None


def test_leftovers_of_a_dead_build_are_cleared(tmp_path) -> None:
    (tmp_path / "work/dead/tree").mkdir(parents=True)
    with Cache(tmp_path).held(print):
        assert not (tmp_path / "work").exists()


def test_overlay_paths_stay_inside_the_tree(tmp_path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "bin").symlink_to("usr/bin")
    (tree / "out").symlink_to("/../../etc")
    (tree / "loop").symlink_to("loop")
    assert overlays.inside_tree(tree, "bin/x") == tree / "usr/bin/x"
    assert overlays.inside_tree(tree, "out/passwd") == tree / "etc/passwd"
    assert overlays.inside_tree(tree, "../../x") == tree / "x"
    with pytest.raises(InvalidInput, match="too many links"):
        overlays.inside_tree(tree, "loop/x")


def test_an_image_is_named_up_to_the_first_dot() -> None:
    assert plan.image_name("a/b.c/kane_host.x.conf") == "kane_host"
