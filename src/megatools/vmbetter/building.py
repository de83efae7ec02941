"""Build an image: config -> tree -> targets, each found in the cache if it can.

Called by the command line and by Python programs (`megatools.vmbetter.build`). Synchronous: a build is one thing
after another. Output files appear whole, at the end, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Generator
from pathlib import Path

import msgspec

from megatools.hostkit.errors import Corrupt, InvalidInput, MegaError, PermissionDenied, chain_text
from megatools.vmbetter import lock as locks
from megatools.vmbetter import manifest, plan, staged
from megatools.vmbetter.assembly import Assembly, Plan, stage
from megatools.vmbetter.cache import Cache, Entry, default_root, key_of
from megatools.vmbetter.config.merge import DEFAULT_CONSTRAINTS, load
from megatools.vmbetter.config.recipe import Recipe
from megatools.vmbetter.events import Event, Kind, Report, Reporter, printable, silent
from megatools.vmbetter.finished import FinishedTree
from megatools.vmbetter.manifest import Part
from megatools.vmbetter.stages import packages
from megatools.vmbetter.stages.postbuild import TIMEOUT_S
from megatools.vmbetter.stages.request import Source
from megatools.vmbetter.targets import registry
from megatools.vmbetter.targets.delivery import Delivery
from megatools.vmbetter.targets.registry import Wanted
from megatools.vmbetter.targets.target import Target, Tree

_IMAGES_KEPT = 3  # of one config and target: going back to the last versions is quick
_SMALL_MEMORY_MIB = 768  # enough for what runs from a disk
_USUAL_MEMORY_MIB = 2048  # what minimega gives a VM when nobody says


class Options(msgspec.Struct, frozen=True):
    """How to build; the defaults are what most want. `lock` is a file other than NAME.lock of the output directory."""

    name: str = ""
    constraints: frozenset[str] = DEFAULT_CONSTRAINTS
    source: Source = Source()
    lock: Path | None = None
    update: bool = False
    use_cache: bool = True
    keep_work: bool = False
    cache_root: Path | None = None
    targets: Wanted = Wanted()
    postbuild_timeout_s: float = TIMEOUT_S
    only_stage_one: bool = False
    stage_two: Path | None = None


class Result(msgspec.Struct, frozen=True):
    """What a build left in the output directory: files by the suffix of their names, and the lock file.

    `memory_mib` is what a machine should have to boot them.
    """

    files: dict[str, Path]
    lock: Path
    memory_mib: int


def build(config: Path, *, output_dir: Path, report: Report = silent, options: Options | None = None) -> Result:
    """Build a config's targets into a directory, overwriting those of an earlier build.

    `report` is told what happens. Raises the kinds of `hostkit.errors`.
    """
    asked = options or Options()
    if not output_dir.is_dir():
        raise InvalidInput(f'output directory "{output_dir}" does not exist')
    if not os.access(output_dir, os.W_OK):
        raise PermissionDenied(f'output directory "{output_dir}" may not be written')
    if asked.only_stage_one and asked.stage_two is not None:
        raise InvalidInput("-1 and -2 exclude each other")
    targets = registry.chosen(asked.targets, asked.source.architecture or platform.machine())
    recipe = load(config, constraints=asked.constraints)
    for warning in recipe.warnings:
        report(Event(Kind.WARNING, "config", warning))
    cache = Cache(asked.cache_root or default_root())
    with cache.held(lambda text: report(Event(Kind.STEP, "cache", text))), _logged(cache, config, report) as say:
        return _Build(cache, recipe, config, asked, say).deliver(targets, output_dir)


def failed_folder(cache: Cache, config: Path) -> Path:
    """Where the tree of a config is kept whose postbuild failed."""
    return cache.root / "failed" / key_of(str(config.resolve()))[:16]


def memory_of(entries: list[Entry]) -> int:
    """What memory the results that are unpacked into it need to boot, in MiB; 0 when none is."""
    return max((int(entry.notes.get("memory", 0)) for entry in entries), default=0)


def assembly_plan(cache: Cache, recipe: Recipe, config: Path, asked: Options, output_dir: Path) -> tuple[Plan, Path]:
    """What to assemble for a config, and its lock file."""
    path = asked.lock or output_dir / f"{asked.name or plan.image_name(str(config))}.lock"
    try:
        known = locks.read(path)
    except Corrupt:
        if not asked.update:
            raise
        known = None  # written anew
    if asked.lock is not None and known is None:
        raise InvalidInput(f'no lock file "{asked.lock}"')
    failed = failed_folder(cache, config)
    todo = Plan(recipe, asked.source, known, asked.update, asked.use_cache, failed, asked.postbuild_timeout_s)
    return todo, path


class _Build:
    """One build: its recipe, its cache, and whom to tell."""

    def __init__(self, cache: Cache, recipe: Recipe, config: Path, asked: Options, report: Report) -> None:
        self._cache, self._recipe, self._config, self._asked = cache, recipe, config, asked
        self._report = report
        self._say = Reporter(report)

    def deliver(self, targets: tuple[Target, ...], output_dir: Path) -> Result:
        """Make the targets, then put them all where they are wanted, with the lock file."""
        name = self._asked.name or plan.image_name(str(self._config))
        todo, lock_path = assembly_plan(self._cache, self._recipe, self._config, self._asked, output_dir)
        with self._cache.workspace(keep=self._asked.keep_work) as workspace:
            assembly = Assembly(self._cache, todo, self._say, workspace)
            if self._asked.only_stage_one:
                return self._stage_one(assembly, output_dir, f"{name}_stage1", lock_path, workspace)
            finished: Tree
            if self._asked.stage_two is not None:
                finished, tree_key = staged.finish(
                    self._asked.stage_two, self._recipe, workspace, self._say, assembly.epoch, todo.timeout_s
                )
            else:
                base = assembly.base()
                tree_key, layer = assembly.finished(base)
                finished = FinishedTree(self._cache, base, layer, workspace, use_cache=self._asked.use_cache)
            entries = [self._image(target, finished, tree_key, assembly.epoch, workspace) for target in targets]
            with Delivery(output_dir) as delivery:
                delivered = self._hand_over(targets, entries, delivery, name)
                about = self._manifest(name, assembly, targets, entries, delivered)
                delivery.data(msgspec.json.format(msgspec.json.encode(about)) + b"\n", output_dir / f"{name}.manifest")
                if locks.differs(lock_path, assembly.lock):
                    delivery.data(locks.encode(assembly.lock), lock_path)
                delivery.put()
        return Result(delivered, lock_path, self._tell(entries, delivered))

    def _hand_over(
        self, targets: tuple[Target, ...], entries: list[Entry], delivery: Delivery, name: str
    ) -> dict[str, Path]:
        delivered: dict[str, Path] = {}
        for target, entry in zip(targets, entries, strict=True):
            files = {suffix: self._cache.verified(entry, suffix) for suffix in entry.files}
            with stage(target.name):
                delivered |= target.deliver(files, delivery, name)
        return delivered

    def _manifest(
        self,
        name: str,
        assembly: Assembly,
        targets: tuple[Target, ...],
        entries: list[Entry],
        delivered: dict[str, Path],
    ) -> manifest.Manifest:
        parts = tuple(
            Part(delivered[suffix].name, stored.sha256)
            for entry in entries
            for suffix, stored in entry.files.items()
            if suffix in delivered
        )
        engine = self._asked.source.engine
        about = manifest.of_build(name, self._recipe, assembly.lock, assembly.overlays, engine, assembly.epoch, parts)
        tools = packages.tools(engine) + [tool for target in targets for tool in target.tools()]
        return msgspec.structs.replace(
            about, memory_mib=memory_of(entries), options=self._options(), tools=tuple(dict.fromkeys(tools))
        )

    def _options(self) -> dict[str, str]:
        """What was asked for that is not the usual, for the manifest."""
        usual, asked = Wanted(), self._asked.targets
        found = {
            field.replace("_", "-"): str(value)
            for field, value in msgspec.structs.asdict(asked).items()
            if value != getattr(usual, field)
        }
        if self._asked.constraints != DEFAULT_CONSTRAINTS:
            found["constraints"] = ",".join(sorted(self._asked.constraints))
        return found

    def _stage_one(self, assembly: Assembly, directory: Path, name: str, lock_path: Path, workspace: Path) -> Result:
        staged.check_new(directory / name)
        base = assembly.base()
        _, layer = assembly.overlay(base)
        with stage("stage 1"), Delivery(directory) as delivery:
            self._say.step("stage 1", "unpacking the tree")
            folder = staged.unpack(FinishedTree(self._cache, base, layer, workspace).tar(), delivery, name)
            if locks.differs(lock_path, assembly.lock):
                delivery.data(locks.encode(assembly.lock), lock_path)
            delivery.put()
        self._say.done("done", str(folder))
        return Result({"stage1": folder}, lock_path, 0)

    def _tell(self, entries: list[Entry], delivered: dict[str, Path]) -> int:
        """Say what there is now, and what it needs; the memory for all of it."""
        needed = memory_of(entries)
        told = f"; needs about {needed} MiB of memory to boot" if needed else ""
        if needed > _USUAL_MEMORY_MIB:
            text = f"the initrd needs {needed} MiB of memory, a VM has {_USUAL_MEMORY_MIB} unless told otherwise"
            self._say.warn("initrd", f"{text}: raise its memory, or build a --disk")
        self._say.done("done", f"{', '.join(map(str, delivered.values()))}{told}")
        return max(_SMALL_MEMORY_MIB, needed)

    def _image(self, target: Target, finished: Tree, tree_key: str, epoch: int, workspace: Path) -> Entry:
        """A target's entry, made if need be."""
        key = plan.image_key(tree_key, target.name, target.identity(), epoch=epoch)
        found = self._cache.find("images", key) if self._asked.use_cache else None
        if found is not None:
            self._say.step(target.name, "unchanged, from the cache")
            self._warn(target, found)
            return found
        self._say.step(target.name, "packing")
        folder = workspace / f"target-{target.name}"
        with stage(target.name):
            folder.mkdir()
            made = target.make(finished, folder, epoch=epoch)
            about = f"{self._config.resolve()} {target.name}"
            warnings = msgspec.json.encode([printable(text) for text in made.warnings]).decode()
            notes = {"unpacked": str(made.unpacked_bytes), "for": about, "warnings": warnings, **made.notes}
            entry = self._cache.publish("images", key, made.files, notes)
        self._warn(target, entry)
        self._cache.retire("images", about, keep=_IMAGES_KEPT)
        return entry

    def _warn(self, target: Target, entry: Entry) -> None:
        """What is wrong with an image is wrong with the one from the cache too."""
        for warning in msgspec.json.decode(entry.notes.get("warnings", "[]"), type=list[str]):
            self._say.warn(target.name, warning)


@contextlib.contextmanager
def _logged(cache: Cache, config: Path, report: Report) -> Generator[Report]:
    """Keep all that is told in a log of the cache while building; errors say where it is."""
    path = cache.root / "logs" / f"{plan.image_name(str(config))}.log"
    with contextlib.closing(_Log(path)) as log:

        def tell(event: Event) -> None:
            if event.kind is not Kind.COUNT:
                log.write(f"{event.stage}: {event.text}\n")
            report(event)

        try:
            yield tell
        except MegaError as error:
            log.write(f"failed: {error.message}\n")
            if 'stage "' in error.message and not error.hint and not log.trouble:
                look = f"; look inside with: vmbetter shell {config}" if 'stage "postbuild"' in error.message else ""
                error.hint = f'its whole output is in "{path}"{look}'
            raise
        if log.trouble:
            report(Event(Kind.WARNING, "log", f'"{path}" cannot be written: {log.trouble}'))


class _Log:
    """A file of what was told; the build goes on when it cannot be written, as on a full disk."""

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self._descriptor = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self.trouble = chain_text(error)

    def write(self, text: str) -> None:
        """Add to the file, unless that has failed before."""
        if self.trouble:
            return
        try:
            os.write(self._descriptor, printable(text).encode())
        except OSError as error:
            self.trouble = chain_text(error)

    def close(self) -> None:
        """The end."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
