"""One cgroup per long-lived program, outside our own: a service manager that stops us does not stop it.

Used by VM backends. Works with the unified hierarchy, with systemd's named one, with both (hybrid) or none.
Groups are `megatools/<owner>/<name>` below each hierarchy's root. Source: cgroups(7).
Moving a process waits for an RCU grace period in the kernel: call `add` from a worker thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

_log = logging.getLogger(__name__)
_TOP = "megatools"


def hierarchies(mounts: str) -> list[Path]:
    """Mount points of the unified hierarchy and of systemd's named one, from the text of /proc/self/mounts."""
    found: list[Path] = []
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(point))
    return found


class Cgroups:
    """The groups of one owner (a base directory); without a cgroup file system it does nothing, and says so once."""

    def __init__(self, owner: str, roots: Sequence[Path] | None = None) -> None:
        tops = hierarchies(Path("/proc/self/mounts").read_text()) if roots is None else roots
        self._lock = threading.Lock()
        self._homes = [root / _TOP / owner for root in tops]
        if not self._homes:
            _log.info("no cgroup file system: programs stay in this process's group")

    def add(self, name: str, pid: int) -> None:
        """Put a process into its own group; what the kernel refuses is logged and otherwise ignored."""
        for home in self._homes:
            try:
                with self._lock:  # the home comes with its first group and goes with its last
                    (home / name).mkdir(parents=True, exist_ok=True)
                (home / name / "cgroup.procs").write_text(str(pid))
            except ProcessLookupError:
                return
            except OSError as error:
                _log.warning('cannot use cgroups below "%s": %s; going on without', home, error)
                self._homes = [kept for kept in self._homes if kept != home]  # several threads may come here

    def remove(self, name: str) -> None:
        """Remove a group whose processes have ended, and the owner's home with its last; a busy one stays."""
        with self._lock:
            for home in self._homes:
                with contextlib.suppress(OSError):
                    (home / name).rmdir()
                    home.rmdir()
