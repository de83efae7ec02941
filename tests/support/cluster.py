"""Several real daemons, each on a "host" of its own (`tests.support.hosts`), for tests and benches.

with cluster(3, flags=["-mesh-open"]) as knights:
    knights.start()
    knights.wait_for_members()
    knights.cut(0)
    ...
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from megatools.hostkit.cgroups import Cgroups, hierarchies
from megatools.minimega.app.client import DaemonError
from megatools.minimega.app.flags import FLAGS
from tests.support import hosts
from tests.support.daemon import CommandRefused, Daemon
from tests.support.hosts import Host, Lab

Result = TypeVar("Result")
_ENGINE = "megatools.minimega.mesh.engine"
_CLUSTER_DIR = any(flag.name == "cluster-dir" for flag in FLAGS)


class Cluster:
    """Hosts and their daemons by the same index, from 0; the host at `i` is called kn(i+1)."""

    def __init__(self, lab: Lab, daemons: Sequence[Daemon]) -> None:
        self.lab = lab
        self.daemons = tuple(daemons)

    @property
    def hosts(self) -> Sequence[Host]:
        """The hosts."""
        return self.lab.hosts

    @property
    def names(self) -> list[str]:
        """The host names, which are the names in the mesh."""
        return [host.name for host in self.hosts]

    def start(self, *which: int, timeout_s: float = 120.0) -> None:
        """Start daemons (all, when none is named) at once and wait until their sockets answer."""
        self.each(lambda daemon: daemon.start(timeout_s=timeout_s), which)

    def ask_all(self, line: str, *which: int) -> list[str]:
        """What a line answers at each of the daemons, asked at once."""
        return self.each(lambda daemon: daemon.ask(line), which)

    def each(self, action: Callable[[Daemon], Result], which: Iterable[int] = ()) -> list[Result]:
        """Do something with each of the daemons at once (all, when none is named); raises the first failure."""
        chosen = [self.daemons[index] for index in which] or list(self.daemons)
        with ThreadPoolExecutor(min(len(chosen), 16)) as pool:
            return list(pool.map(action, chosen))

    def wait_for_members(self, count: int | None = None, *which: int, timeout_s: float = 60.0) -> None:
        """Wait until each of the daemons (all, when none is named) says that the mesh has `count` nodes (all)."""
        wanted = len(self.daemons) if count is None else count
        deadline = time.monotonic() + timeout_s
        while True:
            sizes = self.each(mesh_size, which)
            if all(size == wanted for size in sizes):
                return
            assert time.monotonic() < deadline, f"not {wanted} nodes within {timeout_s} s, but {sizes}"
            time.sleep(0.05)

    def cut(self, index: int) -> None:
        """Take a host off the management network."""
        self.hosts[index].cut()

    def mend(self, index: int) -> None:
        """Put a host back on the management network."""
        self.hosts[index].mend()

    def stop(self, index: int) -> None:
        """Let a daemon and its engine hang (SIGSTOP)."""
        self._signal(index, signal.SIGSTOP)

    def cont(self, index: int) -> None:
        """Let a hung daemon and its engine go on."""
        self._signal(index, signal.SIGCONT)

    def kill9(self, index: int) -> None:
        """Kill a daemon and its engine without warning; its VMs go on."""
        self._signal(index, signal.SIGKILL)
        daemon = self.daemons[index]
        if daemon.process is not None:
            daemon.process.wait(60)

    def power_off(self, index: int) -> None:
        """End everything on a host: daemon, VMs, switches; its disks keep what they have."""
        self.hosts[index].power_off()
        daemon = self.daemons[index]
        if daemon.process is not None:
            daemon.process.wait(60)

    def engines(self, index: int) -> list[int]:
        """The process ids of a host's mesh engine: one, or none while it is started again."""
        return self.hosts[index].pids(_ENGINE)

    def capture(self, index: int, into: Path, *expression: str) -> contextlib.AbstractContextManager[None]:
        """Write what passes a host's management interface to a pcap file while the block runs."""
        return self.lab.capture(self.hosts[index], into, *expression)

    def _signal(self, index: int, number: signal.Signals) -> None:
        daemon, host = self.daemons[index], self.hosts[index]
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.process.send_signal(number)  # the daemon first, so that it does not restart its engine
        host.signal(number, _ENGINE)


def mesh_size(daemon: Daemon) -> int:
    """How many nodes a daemon says there are, itself included; 0 when it does not answer."""
    with contextlib.suppress(CommandRefused, DaemonError):
        return int(daemon.rows("mesh status")[0]["size"])
    return 0


@contextlib.contextmanager
def cluster(
    count: int,
    *,
    flags: Sequence[str] = (),
    flags_of: Callable[[int], Sequence[str]] | None = None,
    trunk: bool = False,
    name: str = "kn",
) -> Iterator[Cluster]:
    """Daemons, not started yet, on `count` hosts; `flags_of` adds flags by index. All they made is removed.

    Hosts are called `name` and a number.
    """
    root = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    try:
        with hosts.lab(count, trunk=trunk, name=name) as lab:
            daemons: list[Daemon] = []
            for index, host in enumerate(lab.hosts):
                place = root / str(index + 1)
                place.mkdir()
                own = ["-cluster-dir", str(place / "cluster")] if _CLUSTER_DIR else []
                own += flags_of(index) if flags_of else ()
                daemons.append(Daemon(place / "b", prefix=host.prefix, flags=[*flags, *own]))
            try:
                yield Cluster(lab, daemons)
            finally:
                for host, daemon in zip(lab.hosts, daemons, strict=True):
                    hosts.end_processes(host)
                    if daemon.process is not None:
                        daemon.process.wait(60)
                    _remove_groups(daemon)
    finally:
        shutil.rmtree(root)


def _remove_groups(daemon: Daemon) -> None:
    """Remove the control groups of VMs that ended with their host."""
    owner = hashlib.sha256(str(daemon.base.resolve()).encode()).hexdigest()[:16]
    groups = Cgroups(owner)
    for root in hierarchies(Path("/proc/self/mounts").read_text()):
        for group in (root / "megatools" / owner).glob("*/"):
            groups.remove(group.name)
