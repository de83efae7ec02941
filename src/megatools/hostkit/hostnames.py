"""IPv4 addresses of many host names at once; anyone may use it.

/etc/hosts is read once for all names: the C library reads it again for each, which for the nodes of a cluster costs
more than everything else. Names that are not in it go to the system's resolver, in threads, within a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

HOSTS_FILE = Path("/etc/hosts")
_THREADS = 16


class HostNames:
    """Looks names up; one object sees one state of the hosts file."""

    def __init__(self, hosts_file: Path = HOSTS_FILE) -> None:
        self._known = hosts_in(_read(hosts_file))

    def address(self, name: str) -> str:
        """The address of a name; empty when there is none. Waits as long as the system's resolver does."""
        return self._known.get(name.lower()) or _ask(name)

    def addresses(self, names: Iterable[str], *, timeout_s: float) -> dict[str, str]:
        """The addresses of those names that have one and whose answer came in time."""
        found: dict[str, str] = {}
        unknown: list[str] = []
        for name in names:
            address = self._known.get(name.lower(), "")
            if address:
                found[name] = address
            else:
                unknown.append(name)
        if unknown and timeout_s > 0:
            found.update(_ask_many(unknown, timeout_s))
        return found


def hosts_in(text: str) -> dict[str, str]:
    """The names of a hosts(5) file in lower case with their first IPv4 address."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) >= 2 and words[0].count(".") == 3 and ":" not in words[0]:
            for name in words[1:]:
                found.setdefault(name.lower(), words[0])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # no file: every name goes to the resolver


def _ask(name: str) -> str:
    import socket  # only for names that are not in the hosts file

    try:
        return socket.gethostbyname(name)
    except (OSError, UnicodeError):
        return ""


def _ask_many(names: list[str], timeout_s: float) -> dict[str, str]:
    """In threads that nobody waits for: a slow name server must not keep a program from ending."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    deadline = time.monotonic() + timeout_s
    asked: SimpleQueue[str] = SimpleQueue()
    answers: SimpleQueue[tuple[str, str]] = SimpleQueue()
    for name in names:
        asked.put(name)

    def work() -> None:
        with suppress(Empty):
            while time.monotonic() < deadline:
                name = asked.get_nowait()
                answers.put((name, _ask(name)))

    for _ in range(min(_THREADS, len(names))):
        Thread(target=work, name="resolve", daemon=True).start()
    found: dict[str, str] = {}
    with suppress(Empty):
        for _ in names:
            name, address = answers.get(timeout=max(0.0, deadline - time.monotonic()))
            if address:
                found[name] = address
    return found
