"""One image's tree, stage by stage, each found in the cache if it can be: lock -> packages -> overlays -> postbuild.

Called by the builder, for the targets, and by the shell. Works inside `cache.held`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from megatools.hostkit import bundle, proc
from megatools.hostkit.bootstrap import emulation, sandbox
from megatools.hostkit.bootstrap.apt import MissingPackages, tells_no_space
from megatools.hostkit.errors import CommandFailed, InvalidInput, InvalidState, MegaError, Unavailable, chain_text
from megatools.vmbetter import claims, plan, secrets, tree
from megatools.vmbetter import lock as locks
from megatools.vmbetter.cache import SPACE_HINT, Cache, Entry, key_of
from megatools.vmbetter.config.merge import PROJECT_OVERLAY
from megatools.vmbetter.config.recipe import Recipe
from megatools.vmbetter.events import Reporter
from megatools.vmbetter.finished import members, plain
from megatools.vmbetter.lock import Lock
from megatools.vmbetter.stages import hostkeys, overlays, packages, postbuild
from megatools.vmbetter.stages.postbuild import Workplace
from megatools.vmbetter.stages.request import Source, request
from megatools.vmbetter.tree import Layer

_ZSTD = ["zstd", "-q", "-f", "-T0"]
_LAST_DATE = (1 << 32) - 1  # what an initrd's format has room for


class Plan(msgspec.Struct, frozen=True):
    """What to assemble, and how; `known` is the lock of an earlier build, if there is one to be used."""

    recipe: Recipe
    source: Source
    known: Lock | None
    update: bool
    use_cache: bool
    failed: Path  # where a tree goes whose postbuild failed
    timeout_s: float


class Assembly:
    """The making of one tree."""

    def __init__(self, cache: Cache, todo: Plan, reporter: Reporter, workspace: Path) -> None:
        self._cache = cache
        self._plan = todo
        self._say = reporter
        self._workspace = workspace
        self.overlays: list[tuple[str, list[list[object]]]] = []  # names and digests, once `finished` was asked for
        names = tuple(entry.value for entry in todo.recipe.packages)
        self._request = request(names, todo.source)
        with stage(packages.STAGE):
            self.lock = self._locked()
            packages.mark_used(cache, self.lock)
        asked = date_asked()
        self.epoch = self.lock.date if asked is None else asked

    def _locked(self) -> Lock:
        """The lock to build from: the one given, one of an earlier build, or a new one."""
        asked, known = self._request, self._plan.known
        local = packages.local_digests(asked)
        key = key_of("lock", locks.FORMAT, asked.suite, asked.architecture, asked.packages, asked.archives, local)
        if known is not None and not known.answers(asked.suite, asked.architecture, asked.packages, local):
            self._say.step(packages.STAGE, "the lock file is for other packages: locking anew")
            known = None
        if known is None and self._plan.use_cache:
            entry = self._cache.find("locks", key)
            known = locks.read(entry.path("lock")) if entry is not None else None
        if known is not None and not self._plan.update:
            day = datetime.fromtimestamp(known.date, UTC).date()
            self._say.step(packages.STAGE, f"as locked on {day}; --update asks for newer ones")
            packages.fetch(known, asked, self._cache, self._folder("locked"), self._say)
            return known
        try:
            made = packages.resolve(asked, self._cache, self._folder("resolve"), self._say)
        except MissingPackages as error:
            raise self._located(error) from error
        if known is not None and known.digest() == made.digest():
            self._say.step(packages.STAGE, "nothing newer in the sources")
            made = known
        locks.write(self._workspace / "lock", made)
        self._cache.publish("locks", key, {"lock": self._workspace / "lock"})
        return made

    def _located(self, error: MissingPackages) -> MegaError:
        origins = [str(entry.origin) for entry in self._plan.recipe.packages if entry.value in error.names]
        return InvalidInput(f"{', '.join(origins)}: {error.message}" if origins else error.message, hint=error.hint)

    def _folder(self, name: str) -> Path:
        folder = self._workspace / name
        try:
            folder.mkdir()
            folder.chmod(0o755)
        except OSError as error:
            raise Unavailable(f'cannot write to the cache "{self._cache.root}"', hint=SPACE_HINT) from error
        return folder

    def _found(self, kind: str, key: str, name: str) -> Entry | None:
        entry = self._cache.find(kind, key) if self._plan.use_cache else None
        if entry is not None:
            self._say.step(name, "unchanged, from the cache")
        return entry

    def base(self) -> Entry:
        """The packages' tree: `tree.tar.zst` and its index."""
        key = packages.key(self.lock, self._request, epoch=self.epoch)
        found = self._found("packages", key, packages.STAGE)
        if found is not None:
            return found
        sandbox.check_usable()
        count = len(self.lock.packages)
        self._say.step(packages.STAGE, f'installing {count} packages of "{self.lock.suite}" into an empty tree')
        folder = self._folder("packages")
        with stage(packages.STAGE):
            tar = packages.make(self.lock, self._request, self._cache, folder, self._say, epoch=self.epoch)
            rows = folder / "index.json"
            index = tree.index(tar)
            rows.write_bytes(msgspec.json.encode(index))
            private = msgspec.json.encode(secrets.found(tar)).decode()
            proc.run_sync([*_ZSTD, "-1", "--rm", str(tar), "-o", f"{tar}.zst"], timeout_s=1800)
            notes = {"for": ", ".join(self._plan.recipe.files), "packages": str(count), "secrets": private}
            notes |= {"sshd": "yes"} if hostkeys.are_needed(index) else {}
            made = {"tree.tar.zst": Path(f"{tar}.zst"), "index.json": rows}
            entry = self._cache.publish("packages", key, made, notes)
        sandbox.remove(folder)
        return entry

    def overlay(self, base: Entry) -> tuple[str, Layer | None]:
        """The overlays' layer and a key for it."""
        key, entry = self._overlay(base)
        return key, self._layer(entry) if entry is not None else None

    def _overlay(self, base: Entry) -> tuple[str, Entry | None]:
        with stage(overlays.STAGE):
            paths = [hostkeys.overlay(self._workspace)] if base.notes.get("sshd") else []
            paths += [self._overlay_folder(entry.value) for entry in self._plan.recipe.overlays]
            self.overlays = list(zip(_names(paths), map(overlays.digest, paths), strict=True))
        key = plan.overlays_key(base.files["tree.tar.zst"].sha256, [rows for _, rows in self.overlays], self.epoch)
        if not paths:
            return key, None
        found = self._found("layers", key, overlays.STAGE)
        if found is None:
            self._say.step(overlays.STAGE, f"{len(paths)} to be put over the packages")
            with stage(overlays.STAGE):
                target = self._workspace / "overlays.tar"
                made = overlays.make(paths, members(base), target, epoch=self.epoch)
                self._check_unchanged(paths)
                found = self._keep(key, made)
        return key, found

    def _check_unchanged(self, paths: list[Path]) -> None:
        """Raise InvalidState when an overlay is not what its key in the cache is made of any more."""
        for path, (_, rows) in zip(paths, self.overlays, strict=True):
            if overlays.digest(path) != rows:
                raise InvalidState(f'overlay "{path}" was changed while it was read', hint="run the build again")

    def _overlay_folder(self, value: str) -> Path:
        return bundle.folder(self._cache.root) if value == PROJECT_OVERLAY else Path(value)

    def finished(self, base: Entry) -> tuple[str, Layer | None]:
        """The layer of everything over the packages, and its key. Warns of private keys in the tree."""
        key, entry = self._finished(base)
        layer = self._layer(entry) if entry is not None else None
        brought = {str(row[0]) for _, rows in self.overlays for row in rows}
        for text in secrets.warnings(_noted(base), _noted(entry) if entry is not None else [], layer, brought):
            self._say.warn("secrets", text)
        return key, layer

    def _finished(self, base: Entry) -> tuple[str, Entry | None]:
        below, over = self._overlay(base)
        scripts = self._plan.recipe.postbuilds
        if not scripts:
            return below, over
        key = plan.postbuild_key(below, [entry.value for entry in scripts])
        found = self._found("layers", key, postbuild.STAGE)
        if found is None:
            with stage(postbuild.STAGE):
                lower = self._layer(over) if over is not None else None
                place = self.workplace(base, lower, self._workspace / "postbuild")
                try:
                    made = postbuild.run(
                        scripts, place, self._workspace, self._say, epoch=self.epoch, timeout_s=self._plan.timeout_s
                    )
                except MegaError:
                    self._leave(place.folder)
                    raise
                self._leave(None)
                found = self._keep(key, made)
        return key, found

    def _leave(self, folder: Path | None) -> None:
        """Keep a tree whose postbuild failed, or none, in place of the one before, unless somebody looks at that."""
        kept = self._plan.failed
        if claims.is_claimed(kept):
            self._say.warn(
                postbuild.STAGE, "a shell is open in the tree of an earlier build, which stays until the next"
            )
            return
        sandbox.remove(kept)
        if folder is not None:
            kept.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(kept)

    def workplace(self, base: Entry, over: Layer | None, folder: Path) -> Workplace:
        """The tree, to be mounted and changed, in a folder."""
        sandbox.check_usable()
        emulation.check(self.lock.architecture)
        return postbuild.prepare(self._unpacked(base), over, folder)

    def _unpacked(self, base: Entry) -> Path:
        """The packages' tree as a folder of the cache."""
        kept = self._cache.root / "unpacked" / base.files["tree.tar.zst"].sha256
        if kept.is_dir() and self._plan.use_cache:
            os.utime(kept)
            return kept / "tree"
        self._say.step(postbuild.STAGE, "unpacking the packages' tree")
        self._cache.discard(kept)
        aside = self._folder("unpacked")
        (aside / "tree").mkdir()
        postbuild.unpack(plain(self._cache, base, self._workspace), aside / "tree")
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(kept)
        return kept / "tree"

    def _keep(self, key: str, layer: Layer) -> Entry:
        about = self._workspace / "layer.json"
        about.write_bytes(msgspec.json.encode([layer.gone, layer.opaque]))
        notes = {"secrets": msgspec.json.encode(secrets.found(layer.tar)).decode()}
        return self._cache.publish("layers", key, {"layer.tar": layer.tar, "layer.json": about}, notes)

    def _layer(self, entry: Entry) -> Layer:
        tar = self._cache.verified(entry, "layer.tar")
        about = self._cache.verified(entry, "layer.json").read_bytes()
        gone, opaque = msgspec.json.decode(about, type=tuple[tuple[str, ...], tuple[str, ...]])
        return Layer(tar, gone, opaque)


def _noted(entry: Entry) -> list[str]:
    """What of one machine an entry's tar has, as it was noted when it was made."""
    return msgspec.json.decode(entry.notes.get("secrets", "[]"), type=list[str])


def _names(paths: list[Path]) -> list[str]:
    """What overlays are called: each by its folder's name, the second of a name with a number."""
    names: list[str] = []
    for path in paths:
        alike = sum(one.name == path.name for one in paths[: len(names)])
        names.append(f"{path.name}({alike + 1})" if alike else path.name)
    return names


def date_asked() -> int | None:
    """The date an environment asks for (SOURCE_DATE_EPOCH); None when it does not. Raises InvalidInput."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > _LAST_DATE:
        raise InvalidInput(f'SOURCE_DATE_EPOCH "{text}" is not a number of seconds between 0 and {_LAST_DATE}')
    return int(text)


@contextlib.contextmanager
def stage(name: str) -> Generator[None]:
    """Say which stage an error belongs to; a full disk is one kind of error, whichever program met it."""
    try:
        yield
    except MegaError as error:
        if error.message.startswith('stage "'):
            raise
        if isinstance(error, CommandFailed) and tells_no_space(error.message) and name != postbuild.STAGE:
            raise Unavailable(f'stage "{name}" failed: no space is left for it', hint=SPACE_HINT) from None
        error.message = f'stage "{name}" failed: {error.message}'
        error.args = (error.message,)
        error.hint = error.hint or (SPACE_HINT if "no space" in chain_text(error).lower() else "")
        raise
    except OSError as error:
        hint = SPACE_HINT if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise Unavailable(f'stage "{name}" failed', hint=hint) from error
