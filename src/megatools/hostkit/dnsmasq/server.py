"""One dnsmasq in a directory of its own: started, found again, told more, ended.

Anyone may use it. It puts itself in the background once it is bound, so the end of the command that starts it is the
news that it runs, or why not. It lives in a session of its own and is found again by the exact path of its
configuration file among the words of its command line.
"""

from __future__ import annotations

import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.dnsmasq import config
from megatools.hostkit.dnsmasq.config import Live, Setup
from megatools.hostkit.errors import CommandFailed, NotFound, Unavailable

PROGRAM = "dnsmasq"
_START_S = 15.0
_USERS = ("dnsmasq", "nobody")


class Server:
    """A dnsmasq that belongs to a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._word = f"--conf-file={directory / config.CONFIG}"

    async def start(self, setup: Setup) -> proc.Identity:
        """Start it and wait until it is bound; nothing is left when it fails.

        Raises CommandFailed with what it wrote (address in use, no such address), NotFound (no dnsmasq), Unavailable.
        """
        self._make_files(setup)
        try:
            await proc.run([PROGRAM, self._word], timeout_s=_START_S)
            identity = self.find()
            if identity is None:
                raise Unavailable("dnsmasq ended right after it started")
        except CommandFailed:
            self._remove_files()
            raise
        except BaseException:
            await self.stop()
            raise
        return identity

    def find(self) -> proc.Identity | None:
        """The process, if it runs."""
        return self._from_pid_file() or next(self._processes(), None)

    def configure(self, live: Live, mtu: int = 0) -> None:
        """Replace what is read while it runs; dnsmasq notices by itself. What was removed stays until it restarts."""
        for name, text in config.live_files(live, mtu).items():
            (self.directory / name).write_text(text)

    async def stop(self) -> None:
        """End it and remove its directory; also when it is just starting, and is several processes."""
        for identity in list(self._processes()):
            await proc.end(identity)
        self._remove_files()  # one that was not yet there finds no configuration, and ends
        for identity in list(self._processes()):
            await proc.end(identity)

    def _make_files(self, setup: Setup) -> None:
        user = _user_for(self.directory.parent)
        self.directory.mkdir(mode=0o755, parents=True)
        for name in (config.STATIC_DIR, config.OPTIONS_DIR, config.HOSTS_DIR):
            (self.directory / name).mkdir(mode=0o755)
        self.configure(Live())
        (self.directory / config.CONFIG).write_text(config.config_text(setup, self.directory, user))
        shutil.chown(self.directory, user)

    def _remove_files(self) -> None:
        if self.directory.exists():
            shutil.rmtree(self.directory)

    def _processes(self) -> Iterator[proc.Identity]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and (found := self._is_ours(int(entry.name))) is not None:
                yield found

    def _from_pid_file(self) -> proc.Identity | None:
        try:
            text = (self.directory / config.PID).read_text().strip()
        except FileNotFoundError:
            return None
        return self._is_ours(int(text)) if text.isdigit() else None

    def _is_ours(self, pid: int) -> proc.Identity | None:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            return proc.identity_of(pid) if self._word in words else None
        except (FileNotFoundError, ProcessLookupError, PermissionError, NotFound):
            return None  # it ended while we looked


def _user_for(parent: Path) -> str:
    """The unprivileged user it becomes; root when that user could not reach its files."""
    reachable = all(directory.stat().st_mode & 0o001 for directory in (parent, *parent.resolve().parents))
    for name in _USERS if reachable else ():
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    return "root"
