"""Build an image: config -> packages -> overlays -> postbuild -> kernel and initrd, each found in the cache if it can.

Called by the command line and by Python programs (`megatools.vmbetter.build`). Synchronous: a build is one thing
after another. Output files appear whole, at the end, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.bootstrap import mmdebstrap
from megatools.hostkit.errors import InvalidInput, MegaError, PermissionDenied, Unavailable
from megatools.vmbetter import plan
from megatools.vmbetter.cache import Cache, Entry, default_root
from megatools.vmbetter.config.merge import DEFAULT_CONSTRAINTS, load
from megatools.vmbetter.config.recipe import Recipe
from megatools.vmbetter.stages import overlays, packages, postbuild
from megatools.vmbetter.targets import registry
from megatools.vmbetter.targets.initrd import memory_needed_mib
from megatools.vmbetter.targets.registry import Wanted
from megatools.vmbetter.targets.target import Target


class Options(msgspec.Struct, frozen=True):
    """How to build; the defaults are what most want."""

    name: str = ""
    branch: str = ""
    mirror: str = ""
    constraints: frozenset[str] = DEFAULT_CONSTRAINTS
    use_cache: bool = True
    keep_work: bool = False
    cache_root: Path | None = None
    targets: Wanted = Wanted()


class Result(msgspec.Struct, frozen=True):
    """What a build left in the output directory: files by the suffix of their names."""

    files: dict[str, Path]


def build(
    config: Path,
    *,
    output_dir: Path,
    progress: Callable[[str], None] = lambda line: None,
    detail: Callable[[str], None] = lambda text: None,
    options: Options | None = None,
) -> Result:
    """Build a config's targets into a directory, overwriting those of an earlier build.

    `progress` gets one line for each step, `detail` what programs printed. Raises the kinds of `hostkit.errors`.
    """
    asked = options or Options()
    if not output_dir.is_dir():
        raise InvalidInput(f'output directory "{output_dir}" does not exist')
    if not os.access(output_dir, os.W_OK):
        raise PermissionDenied(f'output directory "{output_dir}" may not be written')
    recipe = load(config, constraints=asked.constraints)
    for warning in recipe.warnings:
        progress(f"warning: {warning}")
    cache = Cache(asked.cache_root or default_root())
    name = asked.name or plan.image_name(str(config))
    delivered: dict[str, Path] = {}
    with cache.held(progress):
        making = _Build(cache, recipe, asked, progress, detail)
        for target in registry.chosen(asked.targets):
            entry = making.image(target)
            files = {suffix: cache.verified(entry, suffix) for suffix in entry.files}
            written = target.deliver(files, output_dir, name)
            delivered |= written
            needed = memory_needed_mib(int(entry.notes["unpacked"]))
            told = f"; needs about {needed} MiB of memory to boot" if target.name == "initrd" else ""
            progress(f"done: {' and '.join(map(str, written.values()))}{told}")
    return Result(delivered)


class _Finished:
    """A tree from its compressed tar, made plain when first asked for."""

    def __init__(self, packed: Path, workspace: Path) -> None:
        self._packed = packed
        self._plain = workspace / "tree.tar"

    def tar(self) -> Path:
        if not self._plain.exists():
            command = ["zstd", "-q", "-d", "-f", str(self._packed), "-o", str(self._plain)]
            proc.run_sync(command, timeout_s=1800)
        return self._plain


class _Build:
    """One build: its recipe, its cache, and whom to tell."""

    def __init__(
        self,
        cache: Cache,
        recipe: Recipe,
        options: Options,
        progress: Callable[[str], None],
        detail: Callable[[str], None],
    ) -> None:
        self._cache = cache
        self._recipe = recipe
        self._options = options
        self._progress = progress
        self._detail = detail
        self._epoch = _epoch()

    def image(self, target: Target) -> Entry:
        """A target's entry, made if need be."""
        base = self._packages()
        digests = [overlays.digest(Path(entry.value)) for entry in self._recipe.overlays]
        tree = plan.tree_key(base.files["tree.tar.zst"].sha256, self._recipe, digests, epoch=self._epoch)
        key = plan.image_key(tree, target.name, target.identity(), epoch=self._epoch)
        found = self._found("images", key, target.name)
        if found is not None:
            return found
        with self._cache.workspace(keep=self._options.keep_work) as workspace:
            finished = _Finished(self._tree(base, tree, workspace), workspace)
            self._progress(f"{target.name}: packing")
            with _stage(target.name):
                made = target.make(finished, workspace, epoch=self._epoch)
            for warning in made.warnings:
                self._progress(f"warning: {warning}")
            notes = {"unpacked": str(made.unpacked_bytes), **made.notes}
            return self._cache.publish("images", key, made.files, notes)

    def _found(self, kind: str, key: str, what: str) -> Entry | None:
        entry = self._cache.find(kind, key) if self._options.use_cache else None
        if entry is not None:
            self._progress(f"{what}: unchanged, from the cache")
        return entry

    def _packages(self) -> Entry:
        names = tuple(entry.value for entry in self._recipe.packages)
        wanted = packages.request(names, branch=self._options.branch, mirror=self._options.mirror, epoch=self._epoch)
        key = packages.key(wanted, mmdebstrap.version())
        found = self._found("packages", key, "packages")
        if found is not None:
            return found
        _need_root()
        self._progress(f'packages: bootstrapping "{wanted.suite}" with {len(names)} packages and what they need')
        with self._cache.workspace(keep=self._options.keep_work) as workspace, _stage("packages"):
            tar, log = packages.make(wanted, workspace)
            self._detail(log)
            return self._cache.publish("packages", key, {"tree.tar.zst": tar})

    def _tree(self, base: Entry, key: str, workspace: Path) -> Path:
        """The tar, compressed, of the tree after overlays and postbuild."""
        if not self._recipe.overlays and not self._recipe.postbuilds:
            return self._cache.verified(base, "tree.tar.zst")
        found = self._found("trees", key, "overlays and postbuild")
        if found is not None:
            return self._cache.verified(found, "tree.tar.zst")
        _need_root()
        tree, tar = workspace / "tree", workspace / "tree.tar.zst"
        tree.mkdir()
        self._progress("tree: unpacking")
        archive = self._cache.verified(base, "tree.tar.zst")
        flags = ("--numeric-owner", "--xattrs", "--xattrs-include=*")
        with _stage("unpacking"):
            proc.run_sync(["tar", "-x", "--zstd", "-p", *flags, "-f", str(archive), "-C", str(tree)], timeout_s=1800)
        for entry in self._recipe.overlays:
            self._progress(f"overlay: {entry.value}")
            with _stage("overlays"):
                overlays.apply(Path(entry.value), tree)
        for number, entry in enumerate(self._recipe.postbuilds, 1):
            self._progress(f"postbuild: script {number} of {len(self._recipe.postbuilds)} ({entry.origin})")
            with _stage("postbuild"):
                self._detail(postbuild.run(entry, tree, workspace, epoch=self._epoch))
        with _stage("tree"):
            dates = (f"--mtime=@{self._epoch}", "--clamp-mtime", "--pax-option=delete=atime,delete=ctime")
            command = [
                "tar",
                "-c",
                "--format=posix",
                "--sort=name",
                "-I",
                "zstd -1 -T0",
                *flags,
                *dates,
                "-f",
                str(tar),
            ]
            proc.run_sync([*command, "-C", str(tree), "."], timeout_s=1800)
        shutil.rmtree(tree)
        return self._cache.publish("trees", key, {"tree.tar.zst": tar}).path("tree.tar.zst")


@contextlib.contextmanager
def _stage(name: str) -> Generator[None]:
    """Say which stage an error belongs to."""
    try:
        yield
    except MegaError as error:
        raise type(error)(f'stage "{name}" failed: {error.message}', hint=error.hint) from error.__cause__
    except OSError as error:
        raise Unavailable(f'stage "{name}" failed') from error


def _need_root() -> None:
    if os.geteuid() != 0:
        raise PermissionDenied(
            "building needs root for now", hint="run it with sudo; builds by ordinary users are not available yet"
        )


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not text.isdigit():
        raise InvalidInput(f'SOURCE_DATE_EPOCH "{text}" is not a number of seconds')
    return int(text) if text else plan.DEFAULT_EPOCH
