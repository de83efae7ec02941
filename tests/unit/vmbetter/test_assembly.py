"""What is kept in the cache is what its key says, and what is in use is said to be."""

import os
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.bootstrap.apt import Offer
from megatools.hostkit.errors import InvalidState
from megatools.vmbetter.assembly import Assembly, Plan
from megatools.vmbetter.cache import Cache, Entry
from megatools.vmbetter.config.merge import load
from megatools.vmbetter.events import Event, Report, Reporter, silent
from megatools.vmbetter.lock import Lock
from megatools.vmbetter.stages.request import Source
from megatools.vmbetter.tree import Member

OFFER = Offer("less", "1", "amd64", "ab" * 32, 1, 1, "optional")


class Bench:
    """A cache, and a config with one overlay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = Cache(folder / "cache")
        self.file = folder / "over/etc/motd"
        self.file.parent.mkdir(parents=True)
        self.file.write_text("one")
        (folder / "x.conf").write_text('packages = "less"\noverlay = "over"')
        (folder / "keys").write_text("")
        self.package = self.cache.package(OFFER.sha256)
        self.package.parent.mkdir(parents=True)
        self.package.write_text("")

    def assembly(self, report: Report = silent) -> Assembly:
        lock = Lock("toy", "amd64", ("less",), (), 7, (OFFER,))
        source = Source("toy", "file:///nowhere", keyring=self.folder / "keys", architecture="amd64")
        recipe = load(self.folder / "x.conf", directory=self.folder)
        todo = Plan(recipe, source, lock, False, True, self.folder / "failed", 1)
        workspace = Path(tempfile.mkdtemp(dir=self.folder))
        return Assembly(self.cache, todo, Reporter(report), workspace)

    def base(self) -> Entry:
        tree, index = self.folder / "tree", self.folder / "index"
        tree.write_text("")
        index.write_bytes(msgspec.json.encode([Member("etc", "folder", 0o755, 0, 0, 1, 0)]))
        return self.cache.publish("packages", "key", {"tree.tar.zst": tree, "index.json": index})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_overlay_that_changes_while_it_is_read_is_not_kept(bench: Bench) -> None:
    def save(event: Event) -> None:
        if "to be put over" in event.text:
            bench.file.write_text("two")

    base = bench.base()
    with pytest.raises(InvalidState, match=r'over" was changed while it was read'):
        bench.assembly(save).overlay(base)
    assert not (bench.cache.root / "layers").exists()
    bench.file.write_text("one")
    first, _ = bench.assembly().overlay(base)
    _, layer = bench.assembly().overlay(base)
    assert layer is not None
    assert b"one" in layer.tar.read_bytes()
    assert layer.tar.parent.name == first


def test_packages_in_daily_use_are_not_pruned(bench: Bench) -> None:
    before = time.time() - 90 * 86400
    other = bench.cache.package("cd" * 32)
    other.write_text("")
    for path in (bench.package, other):
        os.utime(path, (before, before))
    bench.assembly()
    bench.cache.prune(keep_bytes=1 << 40, older_than_s=30 * 86400)
    assert bench.package.exists()
    assert not other.exists()


def test_all_means_the_projects_own_tree_too(bench: Bench) -> None:
    (bench.cache.root / "project/key/opt").mkdir(parents=True)
    assert "project" in {one.kind for one in bench.cache.prune(keep_bytes=-1)}
    assert list((bench.cache.root / "project").iterdir()) == []
