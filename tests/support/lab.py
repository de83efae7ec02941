"""A network namespace of a test's own: bridges, taps and DHCP in it are nobody else's. Removed at the end."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.daemon import Daemon, daemon_at


@dataclass(frozen=True)
class Lab:
    """A namespace; `prefix` runs a program inside it."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """The words in front of a command line."""
        return ("ip", "netns", "exec", self.name)

    def run(self, *argv: str, timeout_s: float = 60.0) -> str:
        """Run a program in the namespace; returns what it prints."""
        done = subprocess.run([*self.prefix, *argv], capture_output=True, timeout=timeout_s, check=True)
        return done.stdout.decode()

    def links(self) -> set[str]:
        """The names of the network interfaces there are, the loopback left out."""
        text = self.run("ip", "-o", "link")
        names = {line.split(": ")[1].partition("@")[0] for line in text.splitlines()}
        return {name for name in names if name != "lo" and not name.startswith("ifb")}


@contextlib.contextmanager
def lab() -> Iterator[Lab]:
    """A new namespace with its loopback up."""
    where = Lab(f"mt-{secrets.token_hex(4)}")
    subprocess.run(["ip", "netns", "add", where.name], check=True, timeout=30)
    try:
        where.run("ip", "link", "set", "lo", "up")
        yield where
    finally:
        subprocess.run(["ip", "netns", "delete", where.name], check=True, timeout=30)


@contextlib.contextmanager
def daemon_in_lab() -> Iterator[tuple[Daemon, Lab]]:
    """A daemon, not started yet, in a namespace and a base directory of its own; all it made is removed."""
    with lab() as where, daemon_at(prefix=where.prefix) as daemon:
        yield daemon, where
