"""The file directory of this host: names in it, and what their contents are called. Used by `files` and `app`.

::

    <files>/...                          what users put there and what was fetched, whole
    <files>/.megatools/incoming/<id>     contents on their way, not visible to anybody
    <files>/.megatools/manifests/<key>   manifests computed before, by version of the file

No name leaves the directory: `..` is refused, and so is a link that leads out of it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

import msgspec

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from megatools.hostkit.files import write_atomically
from megatools.minimega.files.content import Manifest, Version, read_manifest, version_of

PRIVATE = ".megatools"
_MOST_MANIFESTS = 10_000
_GLOB = frozenset("*?[")


class FileRow(msgspec.Struct, frozen=True):
    """A line of `file list`: names relative to the file directory, sizes in bytes."""

    dir: str
    name: str
    size: int
    modified: str


class _Kept(msgspec.Struct, frozen=True):
    version: Version
    manifest: Manifest


class FileStore:
    """Names and contents of one file directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[Version, Manifest] = {}
        self._places: dict[str, Path] = {}  # where a content was last seen, by id
        self._reading: dict[Version, asyncio.Future[Manifest]] = {}

    @property
    def private(self) -> Path:
        """The directory for what is not visible; made when it is needed. Raises Unavailable."""
        path = self.root / PRIVATE
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f'cannot make "{path}"', hint="-filepath names another directory for files") from error
        return path

    def inside(self, name: str) -> Path:
        """The path of a name, whether it exists or not. Raises InvalidInput when it leaves the directory."""
        parts = PurePosixPath(name.lstrip("/")).parts
        path = self.root.joinpath(*parts)
        if ".." in parts or PRIVATE in parts or "\0" in name or not self._holds(path):
            raise InvalidInput(f"file '{name}' is outside of the file directory '{self.root}'")
        return path

    def existing(self, name: str) -> Path:
        """The path of a file that exists. Raises NotFound, InvalidInput."""
        path = self.inside(name)
        if not path.is_file():
            raise NotFound(f"get {name}: file not found", hint=f"put it in {self.root}")
        return path

    def name_of(self, path: Path) -> str | None:
        """The name of a path below the directory; None for others."""
        try:
            return str(path.relative_to(self.root.absolute()))
        except ValueError:
            return None

    def matching(self, pattern: str) -> list[Path]:
        """The files and folders a name or a glob means, sorted. Raises InvalidInput."""
        path = self.inside(pattern)
        if not _GLOB & set(pattern):
            return [path] if path.exists() else []
        relative = path.relative_to(self.root)
        return sorted(found for found in self.root.glob(str(relative)) if self._shown(found))

    def files(self, pattern: str) -> list[str]:
        """The names of the files that a name, a glob or a folder means."""
        found: list[str] = []
        for path in self.matching(pattern):
            inner = sorted(path.rglob("*")) if path.is_dir() else [path]
            found += [str(each.relative_to(self.root)) for each in inner if each.is_file() and self._shown(each)]
        return found

    def rows(self, pattern: str, *, recursive: bool) -> list[FileRow]:
        """What `file list` shows. Raises NotFound, InvalidInput."""
        paths = self.matching(pattern or ".")
        if not paths:
            if pattern:
                raise NotFound(f'no file "{pattern}"', hint="file list")
            return []
        if len(paths) == 1 and paths[0].is_dir() and not _GLOB & set(pattern):
            inner = paths[0].rglob("*") if recursive else paths[0].iterdir()
            paths = sorted(path for path in inner if self._shown(path))
        return list(self._rows(paths))

    def delete(self, pattern: str) -> int:
        """Remove files and folders; returns how many names went. Raises InvalidInput, PermissionDenied."""
        paths = self.matching(pattern)
        if any(path == self.root for path in paths):
            raise InvalidInput("refusing to delete the whole file directory", hint="name what is to go, or use `*`")
        for path in paths:
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise PermissionDenied(f'cannot delete "{path}"') from error
        return len(paths)

    async def manifest(self, path: Path) -> Manifest:
        """A file's manifest, computed once per version. Raises NotFound, PermissionDenied, InvalidState."""
        try:
            version = version_of(path.stat())
        except OSError as error:
            raise NotFound(f'there is no file "{path}"') from error
        known = self._known.get(version) or await asyncio.to_thread(self._kept, version)
        if known is None:
            known = await self._computed(version, path)
        self._remember(version, path, known)
        return known

    def place(self, content: str) -> Path | None:
        """A file that holds a content, as far as is known; checked to be unchanged since."""
        path = self._places.get(content)
        if path is None:
            return None
        try:
            manifest = self._known.get(version_of(path.stat()))
        except OSError:
            return None
        return path if manifest is not None and manifest.id == content else None

    async def publish(self, data: Path, name: str, manifest: Manifest) -> Path:
        """Give a complete file its name, in place of an older one, at once. Raises PermissionDenied, Unavailable."""
        target = self.inside(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(_sync, data)
            data.replace(target)
        except OSError as error:
            raise Unavailable(f'cannot keep "{name}" in {self.root}') from error
        version = version_of(target.stat())
        self._remember(version, target, manifest)
        if manifest.count > 1:  # what is small is soon read again
            await asyncio.to_thread(self._keep, version, manifest)
        return target

    async def copy(self, source: Path, name: str, manifest: Manifest) -> Path:
        """Give a content that is here already another name."""
        temporary = self.private / f"copy-{manifest.id}"
        try:
            await asyncio.to_thread(_clone, source, temporary)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise Unavailable(f'cannot copy "{source}" in {self.root}') from error
        return await self.publish(temporary, name, manifest)

    # inside

    def _holds(self, path: Path) -> bool:
        """Whether a path, links followed as far as it exists, stays in the directory."""
        return path.resolve().is_relative_to(self.root.resolve())

    def _shown(self, path: Path) -> bool:
        relative = path.relative_to(self.root)
        return PRIVATE not in relative.parts and self._holds(path)

    def _rows(self, paths: Sequence[Path]) -> Iterator[FileRow]:
        for path in paths:
            status = path.lstat() if path.is_symlink() and not path.exists() else path.stat()
            kind = "<dir>" if path.is_dir() else ""
            yield FileRow(kind, str(path.relative_to(self.root)), status.st_size, _date(status.st_mtime))

    async def _computed(self, version: Version, path: Path) -> Manifest:
        """Read a file through, once for all who ask meanwhile."""
        running = self._reading.get(version)
        if running is not None:
            return await asyncio.shield(running)
        future: asyncio.Future[Manifest] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._reading[version] = future
        try:
            read, manifest = await asyncio.to_thread(read_manifest, path)
            if manifest.count > 1:
                await asyncio.to_thread(self._keep, read, manifest)
        except BaseException as error:
            future.set_exception(error if isinstance(error, Exception) else NotFound("nobody waited for it"))
            raise
        finally:
            del self._reading[version]
        future.set_result(manifest)
        return manifest

    def _remember(self, version: Version, path: Path, manifest: Manifest) -> None:
        self._known[version] = manifest
        self._places[manifest.id] = path
        while len(self._known) > _MOST_MANIFESTS:
            self._known.pop(next(iter(self._known)))

    def _kept_path(self, version: Version) -> Path:
        name = f"{version.device}-{version.inode}-{version.size}-{version.modified_ns}"
        return self.root / PRIVATE / "manifests" / name

    def _kept(self, version: Version) -> Manifest | None:
        try:
            kept = msgspec.msgpack.decode(self._kept_path(version).read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError):
            return None
        return kept.manifest if kept.version == version and kept.manifest.well_formed() else None

    def _keep(self, version: Version, manifest: Manifest) -> None:
        path = self._kept_path(version)
        try:
            (self.private / "manifests").mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, msgspec.msgpack.encode(_Kept(version, manifest)))
        except (OSError, Unavailable, PermissionDenied):
            with suppress(OSError):  # a directory that takes no files: it is computed again next time
                path.unlink(missing_ok=True)


def _date(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clone(source: Path, target: Path) -> None:
    """Copy a file; the file system shares the blocks where it can (copy_file_range(2))."""
    with source.open("rb") as reading, target.open("wb") as writing:
        left = os.fstat(reading.fileno()).st_size
        while left > 0:
            copied = os.copy_file_range(reading.fileno(), writing.fileno(), left)
            if copied == 0:
                break
            left -= copied
