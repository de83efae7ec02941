"""Several "hosts" on one machine, for `scripts/demo --cluster`: network namespaces on a bridge, each with a host name.

::

    this machine --- bridge (10.99.255.254) --- mgmt of kn1 (10.99.0.1)
                                            +-- mgmt of kn2 (10.99.0.2) ...

All is made with ip(8), and removed at the end, processes first. Names carry this process's id, so that two demos and
what a user made do not meet.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import NotFound

_NETWORK = "10.99"
_OUTSIDE = f"{_NETWORK}.255.254/16"
_QUICK_S = 30.0
_END_ROUNDS = 200
_GLANCE_S = 0.05


@dataclass(frozen=True)
class Host:
    """One "host": its name, its network namespace and its address on the management network."""

    name: str
    namespace: str
    address: str

    def argv(self, words: Sequence[str]) -> list[str]:
        """The command line that runs a program on this host, under its name."""
        naming = f'hostname {self.name}; exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "sh", "-c", naming, "sh", *words]

    def run(self, *words: str, timeout_s: float = _QUICK_S) -> str:
        """Run a program on this host; returns what it prints. Raises CommandFailed."""
        return proc.run_sync(self.argv(words), timeout_s=timeout_s).text

    def end_processes(self) -> None:
        """Kill whatever still runs on this host."""
        for _ in range(_END_ROUNDS):
            left = self._inhabitants()
            if not left:
                return
            for identity in left:
                proc.send_signal(identity, signal.SIGKILL)
            time.sleep(_GLANCE_S)

    def _inhabitants(self) -> list[proc.Identity]:
        inode = Path(f"/run/netns/{self.namespace}").stat().st_ino
        found: list[proc.Identity] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, NotFound):
                    if (entry / "ns/net").stat().st_ino == inode:
                        found.append(proc.identity_of(int(entry.name)))
        return found


@contextlib.contextmanager
def lab(count: int) -> Generator[Sequence[Host]]:
    """`count` hosts called kn1, kn2, ...; all is removed at the end, also after a failure."""
    mark = f"mt{os.getpid()}"
    with contextlib.ExitStack() as stack:
        stack.callback(_ip, "link", "delete", mark)
        _ip("link", "add", mark, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        _ip("address", "add", _OUTSIDE, "dev", mark)
        _ip("link", "set", mark, "up")
        yield [_host(stack, mark, number) for number in range(1, count + 1)]


def _host(stack: contextlib.ExitStack, mark: str, number: int) -> Host:
    host = Host(f"kn{number}", f"{mark}-{number}", f"{_NETWORK}.{number // 256}.{number % 256}")
    near = f"{mark}-{number}"
    _ip("netns", "add", host.namespace)
    stack.callback(_ip, "netns", "delete", host.namespace)
    stack.callback(host.end_processes)
    _ip("link", "add", near, "type", "veth", "peer", "name", "mgmt", "netns", host.namespace)
    _ip("link", "set", near, "master", mark, "up")
    inside = ("-n", host.namespace)
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "address", "add", f"{host.address}/16", "dev", "mgmt")
    _ip(*inside, "link", "set", "mgmt", "up")
    _ip(*inside, "route", "add", "default", "via", _OUTSIDE.partition("/")[0], "dev", "mgmt")
    _ip(*inside, "route", "add", "224.0.0.0/4", "dev", "mgmt")
    return host


def _ip(*words: str) -> None:
    proc.run_sync(["ip", *words], timeout_s=_QUICK_S)
