"""What was built before, found by the hash of everything that went into it.

Called by the builder. An entry is a folder of files with an `entry.json` that lists their sizes and SHA-256; it is
made aside and renamed into place, so that it is whole or absent, whatever is killed when. One build at a time uses a
cache: whoever holds the lock may also clear what a dead build left behind::

    <root>/lock   <root>/work/<random>/   <root>/<kind>/<key>/{entry.json, files}
    <root>/debs/<sha256>.deb   <root>/unpacked/<key>/tree/   <root>/apt/<key>/   <root>/logs/   <root>/failed/
    <root>/project/<key>/   (made by hostkit/bundle)

An entry's `entry.json` is touched when it is used, as are packages and folders, so that its time says when that was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from megatools.hostkit.bootstrap import sandbox
from megatools.hostkit.errors import Corrupt, InvalidState, PermissionDenied, Unavailable
from megatools.hostkit.files import Lock, sync_directory
from megatools.vmbetter import claims

KINDS = ("images", "derived", "layers", "packages", "unpacked", "locks", "apt", "failed", "debs", "project", "logs")
SPACE_HINT = "free some space (vmbetter cache prune), or choose another place with --cache"


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


class Holding(msgspec.Struct, frozen=True):
    """Something the cache keeps: its size on disk in bytes, when it was last used (seconds since 1970), what for."""

    kind: str
    key: str
    size: int
    used: float
    about: str


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
        self._kept: set[Path] = set()  # workspaces to be looked at until the next build

    @contextlib.contextmanager
    def held(self, waiting: Callable[[str], None]) -> Generator[None]:
        """Hold the lock, waiting for another build to end; leftovers are removed first and last."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            kind = PermissionDenied if isinstance(error, PermissionError) else Unavailable
            raise kind(f'cannot make the cache "{self.root}"', hint="choose one with --cache") from error
        if not self._lock.acquire():
            waiting(f'waiting for process "{self._lock.holder()}", which uses "{self.root}"')
            self._lock.acquire(blocking=True)
        try:
            sandbox.remove(self.root / "work")
            yield
        finally:
            for left in set((self.root / "work").glob("*")) - self._kept:
                sandbox.remove(left)
            self._kept.clear()
            self._fresh.clear()
            self._lock.release()

    @contextlib.contextmanager
    def workspace(self, *, keep: bool = False) -> Generator[Path]:
        """A folder to work in, gone afterwards unless it is to be kept (until the next build)."""
        folder = self._aside("")
        folder.chmod(0o755)  # apt works in it as another user
        if keep:
            self._kept.add(folder)
        try:
            yield folder
        finally:
            if not keep:
                sandbox.remove(folder)

    def _aside(self, prefix: str) -> Path:
        """A new folder that is gone, at the latest, when the lock is let go or, after a kill -9, next taken."""
        try:
            (self.root / "work").mkdir(parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=prefix, dir=self.root / "work"))
        except OSError as error:
            raise Unavailable(f'cannot write to the cache "{self.root}"', hint=SPACE_HINT) from error

    def discard(self, path: Path) -> None:
        """Remove something the cache keeps: first out of sight, so that what is half removed is never used.

        Raises InvalidState when it is the tree of a shell.
        """
        if not path.exists():
            return
        if claims.is_claimed(path):
            raise InvalidState(f'"{path}" is the tree of a shell', hint="leave the shell")
        aside = self._aside("gone-") if path.is_dir() else None
        if aside is None:
            path.unlink()
            return
        path.rename(aside / path.name)
        sandbox.remove(aside)

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
            self.discard(folder)
            return None
        entry = msgspec.structs.replace(entry, folder=str(folder))
        for name, stored in entry.files.items():
            if not entry.path(name).is_file() or entry.path(name).stat().st_size != stored.size:
                self.discard(folder)
                return None
        os.utime(folder / "entry.json")
        return entry

    def contents(self, kinds: tuple[str, ...] = KINDS) -> list[Holding]:
        """All that is kept, least recently used first."""
        found: list[Holding] = []
        for kind in kinds:
            for path in (self.root / kind).glob("*"):
                with contextlib.suppress(FileNotFoundError):  # a build goes on meanwhile
                    found.append(_holding(kind, path))
        return sorted(found, key=lambda held: held.used)

    def retire(self, kind: str, about: str, *, keep: int) -> None:
        """Remove all but the newest entries of a kind that are for one thing."""
        alike = [one for one in self.contents((kind,)) if one.about == about]
        for one in alike[: max(0, len(alike) - keep)]:
            self.discard(self.root / kind / one.key)

    def prune(self, *, keep_bytes: int, older_than_s: float | None = None) -> list[Holding]:
        """Remove what was not used lately: all older than an age, then the oldest until at most so much is kept.

        What a shell uses stays.
        """
        held = self.contents()
        left = sum(one.size for one in held)
        removed: list[Holding] = []
        for one in held:
            if left <= keep_bytes and (older_than_s is None or time.time() - one.used <= older_than_s):
                continue
            if claims.is_claimed(self.root / one.kind / one.key):
                continue
            self.discard(self.root / one.kind / one.key)
            left -= one.size
            removed.append(one)
        return removed

    def verified(self, entry: Entry, name: str) -> Path:
        """A file of an entry, its content checked; raises Corrupt, after removing the entry, when it is another."""
        path = entry.path(name)
        if path in self._fresh:
            return path
        if digest_of(path) != entry.files[name].sha256:
            self.discard(Path(entry.folder))
            raise Corrupt(f'"{path}" in the cache is damaged; it was removed', hint="run the build again")
        self._fresh.add(path)
        return path

    def publish(self, kind: str, key: str, files: dict[str, Path], notes: dict[str, str] | None = None) -> Entry:
        """Move files from a workspace of this cache into an entry."""
        folder = self.root / kind / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = self._aside("entry-")
        try:
            stored: dict[str, Stored] = {}
            for name, path in files.items():
                stored[name] = Stored(path.stat().st_size, digest_of(path))
                path.rename(aside / name)
                self._fresh.add(folder / name)
            entry = Entry(str(folder), stored, notes or {})
            (aside / "entry.json").write_bytes(msgspec.json.encode(entry))
            _sync(aside / "entry.json")
            self.discard(folder)
            aside.rename(folder)
            sync_directory(folder.parent)
        except OSError as error:
            raise Unavailable(f'cannot write to the cache "{self.root}"', hint=SPACE_HINT) from error
        return entry


def _holding(kind: str, path: Path) -> Holding:
    about, mark = "", path
    if (path / "entry.json").is_file():
        mark = path / "entry.json"
        with contextlib.suppress(msgspec.DecodeError):
            about = msgspec.json.decode(mark.read_bytes(), type=Entry).notes.get("for", "")
    return Holding(kind, path.name, _size(path), mark.stat().st_mtime, about)


def _size(path: Path) -> int:
    """What a file or folder takes on disk; parts that may not be read are not counted."""
    if not path.is_dir():
        return path.lstat().st_blocks * 512
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118
    return total


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
