"""A network stack of one's own: fresh network namespace, short base directory, private Open vSwitch."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.state.journal import Journal
from tests.support import netns

Open = Callable[..., AsyncIterator[NetworkStack]]


@pytest.fixture
def base() -> Iterator[Path]:
    """A base directory in whose network namespace the test runs."""
    with netns.base_directory() as directory, netns.entered():
        yield directory


@pytest.fixture
def opened(base: Path):
    """A stack as one run of the daemon has it; `quits` False: it goes without a word, as after kill -9."""

    @asynccontextmanager
    async def open_stack(*, quits: bool = True, **settings: object) -> AsyncIterator[NetworkStack]:
        journal = Journal(base / "journal.db", "host")
        stack = NetworkStack(base=base, journal=journal, ovs=OvsSettings(**settings))  # type: ignore[arg-type]
        try:
            await stack.recover()
            yield stack
            await stack.close(remove=quits)
        finally:
            journal.close()

    return open_stack


@pytest.fixture
def inhabitants(base: Path) -> Callable[[], list[str]]:
    """The names of the programs in the test's network namespace."""

    def look() -> list[str]:
        found = netns.inhabitants(Path("/proc/thread-self/ns/net").stat().st_ino)
        return sorted(Path(f"/proc/{each.pid}/comm").read_text().strip() for each in found)

    assert os.geteuid() == 0
    return look
