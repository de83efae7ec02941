"""The text of one config, and how a place in it is shown to people.

Called by the lexer, the parser and the merge; knows nothing of tokens or keys.
"""

from __future__ import annotations

import difflib
import errno
import hashlib
from pathlib import Path

import msgspec

from megatools.hostkit.errors import InvalidInput, NotFound, PermissionDenied


class Position(msgspec.Struct, frozen=True):
    """A place in a config: lines and columns count from 1, columns in characters."""

    path: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class ConfigError(InvalidInput):
    """A config that cannot be used; the message begins with file:line:col and shows the line with a caret."""


class Source(msgspec.Struct, frozen=True):
    """A config's path as it was given, and its text."""

    path: Path
    text: str

    @property
    def digest(self) -> str:
        """The SHA-256 of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def position(self, offset: int) -> Position:
        """Where the character with this offset is."""
        before = self.text[:offset]
        return Position(str(self.path), before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)

    def failure(self, offset: int, message: str, *, hint: str = "") -> ConfigError:
        """An error about this place."""
        return ConfigError(self.describe(offset, message), hint=hint)

    def describe(self, offset: int, message: str) -> str:
        """The message with its place in front, the line under it and a caret under the character."""
        place = self.position(offset)
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        line = self.text[start : len(self.text) if end < 0 else end]
        margin = "".join("\t" if character == "\t" else " " for character in line[: place.column - 1])
        return f"{place}: {message}\n    {line}\n    {margin}^"


def nearest(path: Path) -> Path | None:
    """The config that somebody may have meant by a path where there is none."""
    try:
        names = [one.name for one in path.parent.iterdir() if one.suffix == ".conf"]
    except OSError:
        return None
    if f"{path.name}.conf" in names:
        return path.with_name(f"{path.name}.conf")
    alike = difflib.get_close_matches(path.name, names, 1, 0.75)
    return path.with_name(alike[0]) if alike else None


def read(path: Path) -> Source:
    """The config at this path; raises NotFound, PermissionDenied or InvalidInput (a folder, not UTF-8 text)."""
    try:
        return Source(path, path.read_bytes().decode())
    except FileNotFoundError:
        near = nearest(path)
        raise NotFound(f'no config "{path}"', hint=f'did you mean "{near}"?' if near else "") from None
    except PermissionError as error:
        raise PermissionDenied(f'config "{path}" may not be read') from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise InvalidInput(f'"{path}" is not a config file') from error
    except OSError as error:  # a name too long to be one, a disk that does not read
        kind = NotFound if error.errno == errno.ENAMETOOLONG else InvalidInput
        raise kind(f'no config "{path}"' if kind is NotFound else f'config "{path}" cannot be read') from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f'config "{path}" is not UTF-8 text') from error
