"""What was built before, found by the hash of everything that went into it.

Called by the builder. An entry is a folder of files with an `entry.json` that lists their sizes and SHA-256; it is
made aside and renamed into place, so that it is whole or absent, whatever is killed when. One build at a time uses a
cache: whoever holds the lock may also clear what a dead build left behind::

    <root>/lock   <root>/work/<random>/   <root>/<kind>/<key>/{entry.json, files}
    <root>/debs/<sha256>.deb   <root>/unpacked/<key>/tree/   <root>/apt/<key>/   <root>/logs/   <root>/failed/

An entry's `entry.json` is touched when it is used, so that its time says when that was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from megatools.hostkit.bootstrap import sandbox
from megatools.hostkit.errors import Corrupt, PermissionDenied, Unavailable
from megatools.hostkit.files import Lock, sync_directory


class Stored(msgspec.Struct, frozen=True):
    """One file of an entry."""

    size: int
    sha256: str


class Entry(msgspec.Struct, frozen=True):
    """A whole entry: its folder, its files by name, and what its maker noted."""

    folder: str
    files: dict[str, Stored]
    notes: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """Where a file of the entry is."""
        return Path(self.folder) / name


def key_of(*parts: object) -> str:
    """A key: the SHA-256 of the parts' JSON. Parts are built of str, int, bool, None, lists, tuples, dicts, Structs."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def default_root() -> Path:
    """Where the cache is when nobody says: /var/cache for root, the user's cache folder otherwise."""
    if os.geteuid() == 0:
        return Path("/var/cache/megatools/vmbetter")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "megatools/vmbetter"


class Cache:
    """The cache under one folder; to be used inside `with cache.held(...)`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = Lock(root / "lock")
        self._fresh: set[Path] = set()  # files written or checked under this lock

    @contextlib.contextmanager
    def held(self, waiting: Callable[[str], None]) -> Generator[None]:
        """Hold the lock, waiting for another build to end; leftovers of dead builds are removed."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise PermissionDenied(f'cannot make the cache "{self.root}"', hint="choose one with --cache") from error
        if not self._lock.acquire():
            waiting(f'waiting for process "{self._lock.holder()}", which uses "{self.root}"')
            self._lock.acquire(blocking=True)
        try:
            sandbox.remove(self.root / "work")
            yield
        finally:
            self._fresh.clear()
            self._lock.release()

    @contextlib.contextmanager
    def workspace(self, *, keep: bool = False) -> Generator[Path]:
        """A folder to work in, gone afterwards unless it is to be kept (until the next build)."""
        (self.root / "work").mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self.root / "work"))
        folder.chmod(0o755)  # apt works in it as another user
        try:
            yield folder
        finally:
            if not keep:
                sandbox.remove(folder)

    def package(self, sha256: str) -> Path:
        """Where a Debian package with this content is, when it is there."""
        return self.root / "debs" / f"{sha256}.deb"

    def folder(self, kind: str, key: str) -> Path:
        """A folder that is no entry: made when it is absent, whoever uses it sees to its content."""
        folder = self.root / kind / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, kind: str, key: str) -> Entry | None:
        """The entry, when it is there and its files have their sizes; a damaged one is removed."""
        folder = self.root / kind / key
        try:
            entry = msgspec.json.decode((folder / "entry.json").read_bytes(), type=Entry)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            shutil.rmtree(folder)
            return None
        entry = msgspec.structs.replace(entry, folder=str(folder))
        for name, stored in entry.files.items():
            if not entry.path(name).is_file() or entry.path(name).stat().st_size != stored.size:
                shutil.rmtree(folder)
                return None
        os.utime(folder / "entry.json")
        return entry

    def verified(self, entry: Entry, name: str) -> Path:
        """A file of an entry, its content checked; raises Corrupt, after removing the entry, when it is another."""
        path = entry.path(name)
        if path in self._fresh:
            return path
        if digest_of(path) != entry.files[name].sha256:
            shutil.rmtree(entry.folder)
            raise Corrupt(f'"{path}" in the cache is damaged; it was removed', hint="run the build again")
        self._fresh.add(path)
        return path

    def publish(self, kind: str, key: str, files: dict[str, Path], notes: dict[str, str] | None = None) -> Entry:
        """Move files from a workspace of this cache into an entry."""
        folder = self.root / kind / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix="entry-", dir=self.root / "work"))
        try:
            stored: dict[str, Stored] = {}
            for name, path in files.items():
                stored[name] = Stored(path.stat().st_size, digest_of(path))
                path.rename(aside / name)
                self._fresh.add(folder / name)
            entry = Entry(str(folder), stored, notes or {})
            (aside / "entry.json").write_bytes(msgspec.json.encode(entry))
            _sync(aside / "entry.json")
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
            sync_directory(folder.parent)
        except OSError as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise Unavailable(f'cannot write to the cache "{self.root}"') from error
        return entry


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
