"""Hooks: a user's own program, run as that user when a reservation starts or ends; the text of it, and the running.

`run.hook_helper` is the only caller of `run_as_owner`, and the only part of igor that needs to be root.
"""

from __future__ import annotations

import os
import pwd
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, InvalidInput, NotFound, PermissionDenied, Unavailable
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.reservation import Reservation

TIMEOUT_S = 300.0
_KEPT_BYTES = 4096
_PATH = "/usr/local/bin:/usr/bin:/bin"
_SHELL = "/bin/sh"
_IN_HOME = 'cd "$HOME" 2>/dev/null; exec "$1"'  # as the owner: whether the home may be entered is their affair


class Owner(msgspec.Struct, frozen=True):
    """Whom a hook runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


def owner_of(reservation: Reservation) -> Owner:
    """The account of a reservation's owner; the uid recorded at submission must still be theirs.

    Raises NotFound (no such account) or PermissionDenied (the name now belongs to somebody else).
    """
    try:
        entry = pwd.getpwnam(reservation.owner)
    except KeyError:
        raise NotFound(f'the owner "{reservation.owner}" has no account on this machine') from None
    recorded = reservation.details.owner_uid
    if recorded not in (-1, entry.pw_uid):
        raise PermissionDenied(f'the name "{reservation.owner}" belongs to uid {entry.pw_uid} now, it was {recorded}')
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Owner(entry.pw_uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir)


def environment_of(reservation: Reservation, event: str, cluster: Cluster, owner: Owner) -> Mapping[str, str]:
    """What a hook is told: names, nodes as a range and as a list, times in seconds since 1970."""
    names = cluster.names(reservation.nodes)
    return {
        "PATH": _PATH,
        "HOME": owner.home,
        "USER": owner.name,
        "LOGNAME": owner.name,
        "IGOR_EVENT": event,
        "IGOR_RESERVATION": reservation.name,
        "IGOR_ID": str(reservation.id),
        "IGOR_NODES": cluster.written(reservation.nodes),
        "IGOR_NODELIST": ",".join(names),
        "IGOR_START": str(reservation.start_s),
        "IGOR_END": str(reservation.end_s),
        "IGOR_VLAN": str(reservation.vlan),
    }


def checked_path(path: str) -> str:
    """A hook's program, when it is an absolute path of one line; raises InvalidInput."""
    if not path.startswith("/") or not path.isprintable():
        raise InvalidInput(f'the hook "{path}" is not an absolute path', hint="write the whole path of the program")
    return path


def run_as_owner(path: str, environment: Mapping[str, str], owner: Owner, *, timeout_s: float = TIMEOUT_S) -> str:
    """Run a hook to its end as its owner, in its owner's home; returns the end of what it wrote.

    Nothing of ours reaches it: no descriptors, no groups, no environment. It is killed with all it started in its
    session after `timeout_s`. Raises CommandFailed, NotFound, PermissionDenied or Unavailable (too slow).
    """
    account = None
    if owner.uid != os.geteuid():
        if os.geteuid() != 0:
            raise PermissionDenied(f'only root can run a hook as "{owner.name}"')
        account = proc.Account(owner.uid, owner.gid, owner.groups)
    reading, writing = os.pipe()
    try:
        argv = [_SHELL, "-c", _IN_HOME, "igor-hook", checked_path(path)]
        child = proc.spawn(argv, stdout=writing, stderr=writing, env=environment, cwd=Path("/"), account=account)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        written = _drained(reading, time.monotonic() + timeout_s)
        status = _status_of(child, written is not None)
    finally:
        os.close(reading)
    if written is None:
        raise Unavailable(f'the hook "{path}" did not end within {timeout_s:g} s')
    text = written.decode(errors="replace").strip()
    if status != 0:
        raise CommandFailed(f'the hook "{path}" exited with status {status}' + (f": {text[-400:]}" if text else ""))
    return text


def _drained(reading: int, deadline: float) -> bytes | None:
    """The end of what is written until everybody closed the pipe; None when that takes too long."""
    kept = b""
    while (left_s := deadline - time.monotonic()) > 0:
        if not proc.readable(reading, timeout_s=left_s):
            continue
        chunk = os.read(reading, 65536)
        if not chunk:
            return kept
        kept = (kept + chunk)[-_KEPT_BYTES:]
    return None


def _status_of(child: proc.Child, ended: bool) -> int | None:
    if not ended:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return child.poll()
    pidfd = os.pidfd_open(child.pid) if child.poll() is None else -1
    if pidfd >= 0:
        proc.readable(pidfd, timeout_s=10.0)  # it closed its output: it is ending
        os.close(pidfd)
    return child.poll()
