"""Build an image: config -> packages -> overlays -> postbuild -> kernel and initrd, each found in the cache if it can.

Called by the command line and by Python programs (`megatools.vmbetter.build`). Synchronous: a build is one thing
after another. Output files appear whole, at the end, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
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
from megatools.vmbetter.targets import initrd


class Options(msgspec.Struct, frozen=True):
    """How to build; the defaults are what most want."""

    name: str = ""
    branch: str = ""
    mirror: str = ""
    constraints: frozenset[str] = DEFAULT_CONSTRAINTS
    use_cache: bool = True
    keep_work: bool = False
    cache_root: Path | None = None


class Image(msgspec.Struct, frozen=True):
    """What a build left in the output directory."""

    kernel: Path
    initrd: Path


def build(
    config: Path,
    *,
    output_dir: Path,
    progress: Callable[[str], None] = lambda line: None,
    detail: Callable[[str], None] = lambda text: None,
    options: Options | None = None,
) -> Image:
    """Build a config's kernel and initrd into a directory, overwriting those of an earlier build.

    `progress` gets one line for each step, `detail` what programs printed. Raises the kinds of `hostkit.errors`.
    """
    chosen = options or Options()
    if not output_dir.is_dir():
        raise InvalidInput(f'output directory "{output_dir}" does not exist')
    if not os.access(output_dir, os.W_OK):
        raise PermissionDenied(f'output directory "{output_dir}" may not be written')
    recipe = load(config, constraints=chosen.constraints)
    for warning in recipe.warnings:
        progress(f"warning: {warning}")
    cache = Cache(chosen.cache_root or default_root())
    name = chosen.name or plan.image_name(str(config))
    with cache.held(progress):
        entry = _Build(cache, recipe, chosen, progress, detail).image()
        image = Image(output_dir / f"{name}.kernel", output_dir / f"{name}.initrd")
        _deliver(cache.verified(entry, "kernel"), image.kernel)
        _deliver(cache.verified(entry, "initrd"), image.initrd)
    needed = initrd.memory_needed_mib(int(entry.notes["unpacked"]))
    progress(f"done: {image.kernel} and {image.initrd}; needs about {needed} MiB of memory to boot")
    return image


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

    def image(self) -> Entry:
        """The finished image's entry, made if need be."""
        base = self._packages()
        digests = [overlays.digest(Path(entry.value)) for entry in self._recipe.overlays]
        tree = plan.tree_key(base.files["tree.tar.zst"].sha256, self._recipe, digests, epoch=self._epoch)
        compressor = proc.run_sync(["zstd", "--version"], timeout_s=30).text.strip()
        key = plan.image_key(tree, "initrd", target_format=initrd.FORMAT, compressor=compressor, epoch=self._epoch)
        found = self._found("images", key, "initrd")
        if found is not None:
            return found
        with self._cache.workspace(keep=self._options.keep_work) as workspace:
            tar = self._plain(self._tree(base, tree, workspace), workspace)
            self._progress("initrd: packing")
            with _stage("initrd"):
                packed = initrd.make(tar, workspace, epoch=self._epoch)
            for warning in packed.warnings:
                self._progress(f"warning: {warning}")
            notes = {"unpacked": str(packed.unpacked_bytes), "kernel": packed.kernel_version}
            return self._cache.publish("images", key, {"kernel": packed.kernel, "initrd": packed.initrd}, notes)

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

    def _plain(self, tar: Path, workspace: Path) -> Path:
        plain = workspace / "tree.tar"
        proc.run_sync(["zstd", "-q", "-d", "-f", str(tar), "-o", str(plain)], timeout_s=1800)
        return plain


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


def _deliver(source: Path, target: Path) -> None:
    """Copy a file so that its target is the old or the new one, never a part; mode 0644."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise Unavailable(f'cannot write "{target}"') from error
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream, source.open("rb") as content:
            shutil.copyfileobj(content, stream, 1 << 20)
            os.fchmod(stream.fileno(), 0o644)
        aside.replace(target)
    except OSError as error:
        raise Unavailable(f'cannot write "{target}"') from error
    finally:
        aside.unlink(missing_ok=True)
