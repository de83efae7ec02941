"""Network namespaces for tests: a network of one's own, gone at the end with every process in it.

    with netns.entered():                  # this thread, and threads and programs started from now on
        ...
    with netns.named() as name:            # for programs: argv = [*netns.exec_words(name), "minimega", ...]
        ...

Never the system's Open vSwitch: `NetworkStack` starts a private one below the test's base directory, because none runs
in a fresh namespace.
"""

import ctypes
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from megatools.hostkit import proc, taps
from megatools.hostkit.errors import NotFound

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


@contextmanager
def entered() -> Iterator[None]:
    """Run the block in a new network namespace with nothing but a loopback interface."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        inode = Path("/proc/thread-self/ns/net").stat().st_ino
        try:
            taps.set_flags("lo", up=True)
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET), "setns")
            kill_inhabitants(inode)
    finally:
        os.close(home)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Run the block, this thread, in a named namespace: sockets opened there are its own."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(there, _CLONE_NEWNET), "setns")
        finally:
            os.close(there)
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET), "setns")
    finally:
        os.close(home)


@contextmanager
def named() -> Iterator[str]:
    """A new network namespace with a name, for `ip netns exec`; its loopback is up."""
    name = f"megatest-{os.getpid()}-{next(_numbers)}"
    proc.run_sync(["ip", "netns", "add", name], timeout_s=30)
    try:
        proc.run_sync(["ip", "-n", name, "link", "set", "lo", "up"], timeout_s=30)
        yield name
    finally:
        kill_inhabitants(Path(f"/run/netns/{name}").stat().st_ino)
        proc.run_sync(["ip", "netns", "del", name], timeout_s=30)


def exec_words(name: str) -> list[str]:
    """The words before a command line that is to run in a named namespace."""
    return ["ip", "netns", "exec", name]


@contextmanager
def base_directory() -> Iterator[Path]:
    """A directory with a short path (Unix sockets below it have room), removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="mt-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def inhabitants(inode: int) -> list[proc.Identity]:
    """The processes in a network namespace, ourselves aside."""
    found: list[proc.Identity] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError, NotFound):
            if (entry / "ns/net").stat().st_ino == inode:
                found.append(proc.identity_of(int(entry.name)))
    return found


def kill_inhabitants(inode: int) -> None:
    """End every process in a network namespace, ourselves aside."""
    for identity in inhabitants(inode):
        proc.send_signal(identity, signal.SIGKILL)


def _check(status: int, what: str) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
