"""The finished tree of a build, as targets read it: the packages' tree of the cache, with a layer over it.

Made by the builder; the assembly reads a base in the same way. Works inside `cache.held`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.vmbetter import tree
from megatools.vmbetter.cache import Cache, Entry, key_of
from megatools.vmbetter.tree import Layer, Member


class FinishedTree:
    """A base with a layer over it, as targets read it; whole tars are made when first asked for."""

    def __init__(
        self, cache: Cache, base: Entry, layer: Layer | None, workspace: Path, *, use_cache: bool = True
    ) -> None:
        self._cache = cache
        self._base = base
        self._workspace = workspace
        self._use_cache = use_cache
        self._made: set[str] = set()  # what this build has made itself
        self.layer = layer

    def tar(self) -> Path:
        """The whole tree as a plain tar."""
        if self.layer is None:
            return self.base_tar()
        merged = self._workspace / "merged.tar"
        if not merged.exists():
            tree.merge(self.base_tar(), self.layer, merged)
        return merged

    def base_tar(self) -> Path:
        """The packages' tree as a plain tar."""
        return plain(self._cache, self._base, self._workspace)

    def base_members(self) -> list[Member]:
        """The index of the packages' tree."""
        return members(self._base)

    def of_base(self, identity: object, make: Callable[[Path], Path]) -> Path:
        """A file that depends on the packages' tree and `identity` alone: from the cache, or made (given the tar)."""
        key = key_of("derived", self._base.files["tree.tar.zst"].sha256, identity)
        entry = self._cache.find("derived", key) if self._use_cache or key in self._made else None
        if entry is None:
            entry = self._cache.publish("derived", key, {"file": make(self.base_tar())})
            self._made.add(key)
        return self._cache.verified(entry, "file")


def plain(cache: Cache, base: Entry, workspace: Path) -> Path:
    """The packages' tree as a plain tar in the workspace."""
    tar = workspace / "base.tar"
    if not tar.exists():
        packed = cache.verified(base, "tree.tar.zst")
        proc.run_sync(["zstd", "-q", "-d", "-f", str(packed), "-o", str(tar)], timeout_s=1800)
    return tar


def members(base: Entry) -> list[Member]:
    """The index of the packages' tree."""
    return msgspec.json.decode(base.path("index.json").read_bytes(), type=list[Member])
