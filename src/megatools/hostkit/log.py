"""Logging: the standard library's, with minimega's level names, one text format and one for programs.

Composition roots call `configure` once; everybody else uses `logging.getLogger(__name__)`. Errors are logged with
`exc_info`, so that a bug keeps its traceback; a `MegaError` is written as its chain of messages, without one.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import TextIO

from megatools.hostkit.errors import InvalidInput, MegaError, PermissionDenied, Unavailable, chain_text

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_NAMES = {number: name for name, number in LEVELS.items()}
_FILE_MODE = 0o660


def level_number(name: str) -> int:
    """The standard library's number of a level name; raises InvalidInput."""
    try:
        return LEVELS[name]
    except KeyError:
        raise InvalidInput(f'invalid log level: "{name}"', hint=f"levels are {', '.join(LEVELS)}") from None


def level_name(number: int) -> str:
    """The name of the level that a number belongs to."""
    return _NAMES[max((known for known in _NAMES if known <= number), default=logging.DEBUG)]


def _source(record: logging.LogRecord) -> str:
    return record.name.removeprefix("megatools.")


class TextFormatter(logging.Formatter):
    """`2026-11-23 15:04:05.123 warn  minimega.vm.fleet: message`, local time, then a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        moment = datetime.fromtimestamp(record.created).astimezone()
        head = f"{moment:%Y-%m-%d %H:%M:%S}.{int(record.msecs):03d} {level_name(record.levelno):<5} {_source(record)}: "
        return head + record.getMessage() + _trouble(self, record)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, source, message, and error with traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as a line of JSON."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": level_name(record.levelno),
            "source": _source(record),
            "message": record.getMessage(),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            entry["error"] = chain_text(error)
            if not isinstance(error, MegaError) and record.exc_info:
                entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _trouble(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    error = record.exc_info[1] if record.exc_info else None
    if error is None or record.exc_info is None:
        return ""
    if isinstance(error, MegaError):
        return f": {chain_text(error)}"
    return "\n" + formatter.formatException(record.exc_info)


class FileHandler(WatchedFileHandler):
    """Appends to a file of mode 0660 and opens it anew when it was rotated away."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        if os.fstat(descriptor).st_uid == os.geteuid():
            os.fchmod(descriptor, _FILE_MODE)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at the moment: a prompt puts itself in front of it while it waits."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self.stream = sys.stderr
        super().emit(record)


def file_handler(path: Path) -> FileHandler:
    """A handler that appends to a file; raises PermissionDenied or Unavailable when it cannot be opened."""
    try:
        return FileHandler(path)
    except OSError as error:
        kind = PermissionDenied if isinstance(error, PermissionError) else Unavailable
        raise kind(f'cannot open the log file "{path}"', hint="name a file in a directory that exists") from error


def configure(*, level: str, stderr: bool = True, file: Path | None = None, as_json: bool = False) -> None:
    """Send what the programs log to stderr, a file, both or neither; replaces what was configured before.

    Raises InvalidInput for a level, PermissionDenied or Unavailable for a file.
    """
    number = level_number(level)
    handlers: list[logging.Handler] = []
    if file is not None:
        handlers.append(file_handler(file))
    if stderr:
        handlers.append(StderrHandler(sys.stderr))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    formatter = JsonFormatter() if as_json else TextFormatter()
    for handler in handlers or [logging.NullHandler()]:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(logging.WARNING if number < logging.WARNING else number)  # libraries are heard from warn up
    logging.getLogger("megatools").setLevel(number)


def set_level(level: str) -> None:
    """Change the level while running; raises InvalidInput."""
    logging.getLogger("megatools").setLevel(level_number(level))


def current_level() -> str:
    """The level now."""
    return level_name(logging.getLogger("megatools").getEffectiveLevel())
