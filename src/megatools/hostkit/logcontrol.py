"""Where a daemon's log goes, changed while it runs; `log` commands call it."""

from __future__ import annotations

from pathlib import Path

from megatools.hostkit import log


class LogControl:
    """The level, whether the log goes to stderr, and the file it is appended to; each change takes effect at once."""

    def __init__(self, *, level: str, stderr: bool, file: Path | None) -> None:
        self._initial = (level, stderr, file)
        self._level, self._stderr, self._file = self._initial
        self._apply()

    @property
    def level(self) -> str:
        """debug, info, warn, error or fatal."""
        return self._level

    @property
    def stderr(self) -> bool:
        """Whether the log goes to standard error."""
        return self._stderr

    @property
    def file(self) -> Path | None:
        """The file the log is appended to, if any."""
        return self._file

    def set_level(self, level: str) -> None:
        """Change the level; raises InvalidInput for an unknown one."""
        log.set_level(level)
        self._level = level

    def set_stderr(self, on: bool) -> None:
        """Switch the log on standard error on or off."""
        self._stderr = on
        self._apply()

    def set_file(self, file: Path | None) -> None:
        """Append to another file, or to none; raises when it cannot be opened, and all stays as it was."""
        before = self._file
        self._file = file
        try:
            self._apply()
        except Exception:
            self._file = before
            self._apply()
            raise

    def reset(self, what: str) -> None:
        """Go back to how the daemon was started: `level`, `stderr`, `file`, or all of it when empty."""
        level, stderr, file = self._initial
        if what in ("", "level"):
            self.set_level(level)
        if what in ("", "stderr"):
            self.set_stderr(stderr)
        if what in ("", "file"):
            self.set_file(file)

    def _apply(self) -> None:
        log.configure(level=self._level, stderr=self._stderr, file=self._file)
