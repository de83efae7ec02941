"""A config and its parents become one recipe.

Called by the builder. Parents are merged at the place where they are named, each file once (diamonds), cycles are
refused with the chain shown. Parents are looked for beside the file that names them, then in the working directory;
overlays in the working directory, then beside the file.
"""

from __future__ import annotations

import filecmp
import re
from pathlib import Path

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.vmbetter.config.parser import Assignment, holds, parse
from megatools.vmbetter.config.recipe import Entry, Recipe
from megatools.vmbetter.config.source import ConfigError, Source, nearest, read

DEFAULT_CONSTRAINTS = frozenset({"debian", "amd64"})
# An overlay that stands for these tools themselves: see hostkit/bundle
PROJECT_OVERLAY = "@megatools"
_NAME_BYTES = 255  # of a file, at most; more is an error even to look for
_SAMPLES = Path(__file__).resolve().parents[4] / "misc/vmbetter_configs"
# Debian policy 5.6.1, with apt's "/suite", "=version" and ":architecture" behind it
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?([=/][A-Za-z0-9.+:~-]+)?\Z")


def load(path: Path, *, constraints: frozenset[str] = DEFAULT_CONSTRAINTS, directory: Path | None = None) -> Recipe:
    """The recipe of a config; `directory` stands for the working directory.

    Raises NotFound, PermissionDenied, InvalidInput (the config itself) and ConfigError (what is written in it).
    """
    merge = _Merge(constraints, (directory or Path.cwd()).resolve())
    merge.add(read(path), ())
    return merge.recipe()


class _Merge:
    """A recipe in the making."""

    def __init__(self, constraints: frozenset[str], directory: Path) -> None:
        self._constraints = constraints
        self._directory = directory
        self._seen: dict[Path, Source] = {}
        self._packages: dict[str, Entry] = {}
        self._overlays: list[Entry] = []
        self._postbuilds: list[Entry] = []
        self._warnings: list[str] = []

    def recipe(self) -> Recipe:
        return Recipe(
            files=tuple(str(source.path) for source in self._seen.values()),
            digests=tuple(source.digest for source in self._seen.values()),
            packages=tuple(self._packages.values()),
            overlays=tuple(self._overlays),
            postbuilds=tuple(self._postbuilds),
            warnings=tuple(self._warnings),
        )

    def add(self, source: Source, chain: tuple[Path, ...]) -> None:
        """Merge one file; `chain` holds the files that led here."""
        real = source.path.resolve()
        self._seen[real] = source
        for assignment in parse(source, self._warnings.append):
            if not holds(assignment.constraints, self._constraints):
                continue
            if assignment.key == "postbuild":
                if assignment.value.strip():
                    self._postbuilds.append(Entry(assignment.value, source.position(assignment.value_offset)))
                continue
            for offset, word in _words(assignment):
                if assignment.key == "parents":
                    self._parent(source, offset, word, (*chain, real))
                elif assignment.key == "overlay":
                    self._overlay(source, offset, word)
                else:
                    self._package(source, offset, word)

    def _package(self, source: Source, offset: int, word: str) -> None:
        if not _PACKAGE.match(word):
            raise source.failure(offset, f'"{word}" is not a package name')
        self._packages.setdefault(word, Entry(word, source.position(offset)))

    def _parent(self, source: Source, offset: int, word: str, chain: tuple[Path, ...]) -> None:
        path = self._found(source, offset, word, (source.path.parent, self._directory), "parent")
        real = path.resolve()
        if real in chain:
            loop = " -> ".join(part.name for part in (*chain[chain.index(real) :], real))
            raise source.failure(offset, f"parents form a cycle: {loop}")
        if real in self._seen:
            return
        try:
            parent = read(path)
        except ConfigError:
            raise
        except NotFound as error:
            raise source.failure(offset, f'no parent "{word}"') from error
        except InvalidInput:
            raise source.failure(offset, f'parent "{word}" is not a config file') from None
        self.add(parent, chain)

    def _overlay(self, source: Source, offset: int, word: str) -> None:
        if word == PROJECT_OVERLAY:
            self._overlays.append(Entry(word, source.position(offset)))
            return
        path = self._found(source, offset, word, (self._directory, source.path.parent), "overlay")
        if not path.is_dir():
            raise source.failure(offset, f'overlay "{word}" is not a folder')
        self._overlays.append(Entry(str(path.resolve()), source.position(offset)))

    def _found(self, source: Source, offset: int, word: str, folders: tuple[Path, Path], what: str) -> Path:
        candidates = [folder / word for folder in folders]
        try:
            there = [path for path in candidates if _exists(path)]
        except PermissionError as error:
            raise source.failure(offset, f'{what} "{word}" may not be looked for: "{error.filename}"') from error
        if not there:
            looked = " and ".join(dict.fromkeys(f'"{path}"' for path in candidates))
            meant = self._meant(word, candidates) if what == "parent" else ""
            raise source.failure(offset, f'no {what} "{word}"', hint=f"looked for {looked}{meant}")
        if len(there) > 1 and not _same(there[0], there[1]):
            self._warnings.append(
                source.describe(offset, f'{what} "{word}" is both "{there[0]}" and "{there[1]}": the first one is used')
            )
        return there[0]

    def _meant(self, word: str, candidates: list[Path]) -> str:
        """The parent that was probably meant: a sample of that name, or a config of nearly that name."""
        sample = _SAMPLES / word
        near = (
            sample
            if len(sample.name) <= _NAME_BYTES and sample.is_file()
            else next(filter(None, map(nearest, candidates)), None)
        )
        if near is None:
            return ""
        real = near.resolve()
        shown = real.relative_to(self._directory) if real.is_relative_to(self._directory) else real
        return f'; did you mean "{shown}"?'


def _exists(path: Path) -> bool:
    """Whether there is something; nothing is where a name is too long to be one. Raises PermissionError."""
    try:
        return path.exists()
    except PermissionError:
        raise
    except OSError:
        return False


def _words(assignment: Assignment) -> list[tuple[int, str]]:
    return [(assignment.value_offset + word.start(), word.group()) for word in re.finditer(r"\S+", assignment.value)]


def _same(one: Path, other: Path) -> bool:
    """Whether two files, or two folders with all that is in them, hold the same."""
    if one.resolve() == other.resolve():
        return True
    if one.is_file() and other.is_file():
        return filecmp.cmp(one, other, shallow=False)
    return one.is_dir() and other.is_dir() and _alike(filecmp.dircmp(one, other, ignore=[], hide=[]))


def _alike(both: filecmp.dircmp[str]) -> bool:
    if both.left_only or both.right_only or both.common_funny:
        return False
    _, different, unread = filecmp.cmpfiles(both.left, both.right, both.common_files, shallow=False)
    return not different and not unread and all(map(_alike, both.subdirs.values()))
