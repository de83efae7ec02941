"""The addresses of nodes, from the hosts file and the host's resolver; the engine is given it, tests give another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from megatools.hostkit.hostnames import HostNames

HOSTS_FILE = Path("/etc/hosts")


class Addresses:
    """Looks names up; reads the hosts file again when it has changed."""

    def __init__(self) -> None:
        self._names: HostNames | None = None
        self._stamp = (0, 0)

    def __call__(self, name: str) -> str:
        """The IPv4 address of a name, or an empty text when it has none."""
        from megatools.hostkit.hostnames import HostNames  # brings sockets and threads

        stamp = _stamp()
        if self._names is None or stamp != self._stamp:
            self._names, self._stamp = HostNames(), stamp
        return self._names.address(name)


def _stamp() -> tuple[int, int]:
    try:
        status = HOSTS_FILE.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_ino
