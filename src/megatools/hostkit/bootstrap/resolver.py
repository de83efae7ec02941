"""Lend a tree this host's resolver while programs run in it, and take it back afterwards.

Called by `enter`, when the tree has become the root: so links in it lead nowhere else. Where `/etc/resolv.conf` leads
into `/run` (systemd-resolved and its like), the file it leads to is written there, and goes with that `/run`. Elsewhere
the file's content is replaced for the time; what a program has added to it stays. A file that names a server other than
the machine itself is a resolver of the tree's own, and is left alone.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

HOSTS = Path("/etc/resolv.conf")
_ELSEWHERE = re.compile(rb"^[ \t]*nameserver[ \t]+(?!127\.|::1\b|0\.0\.0\.0\b)[0-9A-Fa-f]", re.MULTILINE)
_NOT_FILES = ("dev", "proc", "sys")


class Loan(msgspec.Struct, frozen=True):
    """What to take back: the file (a path below the root), what was written into it, and its own content and date."""

    path: str
    lent: bytes
    own: bytes | None = None
    mtime_ns: int = 0


def of_host() -> bytes:
    """This host's resolver configuration; empty when there is none."""
    return HOSTS.read_bytes() if HOSTS.is_file() else b""


def lend(content: bytes, root: Path = Path("/")) -> Loan | None:
    """Have names resolved as on the host; what to take back, if anything, once programs have run."""
    top = root.resolve()
    path = Path(os.path.realpath(top / "etc/resolv.conf"))  # which does not mind a loop of links
    place = path.relative_to(top).parts if path.is_relative_to(top) else ()
    if not place or place[0] in _NOT_FILES or (os.path.lexists(path) and not path.is_file()):
        return None
    if place[0] == "run":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return None
    if not path.parent.is_dir():
        return None
    name = "/".join(place)
    if not path.exists():
        path.write_bytes(content)
        return Loan(name, content)
    own, date = path.read_bytes(), path.stat().st_mtime_ns
    if _ELSEWHERE.search(own):
        return None
    path.write_bytes(content)
    return Loan(name, content, own, date)


def take_back(loan: Loan, root: Path = Path("/")) -> None:
    """Give a file its own content again, unless it has got another one meanwhile."""
    path = root / loan.path
    if path.is_symlink() or not path.is_file():
        return
    now = path.read_bytes()
    if not now.startswith(loan.lent):
        return
    added = now[len(loan.lent) :]
    if loan.own is None and not added:
        path.unlink()
        return
    path.write_bytes((loan.own or b"") + added)
    if not added:
        os.utime(path, ns=(loan.mtime_ns, loan.mtime_ns))
