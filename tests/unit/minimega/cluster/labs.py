"""What the tests of namespaces over hosts share: lines in namespace `lab`, and where its VMs are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.unit.minimega.cluster.daemons import Daemon

KN = ("kn1", "kn2", "kn3")


async def lab(daemon: Daemon, *lines: str) -> None:
    """Run lines in namespace `lab`; none may fail."""
    for line in lines:
        errors = await daemon.errors(line, "lab")
        assert not errors, (line, errors)


async def rows(daemon: Daemon, line: str) -> list[list[str]]:
    """The rows of a table in namespace `lab`, without hosts."""
    return [row for group in await daemon.groups(line, "lab") for response in group for row in response.tabular or ()]


def where(*found: Daemon) -> dict[str, str]:
    """The host of every VM of namespace `lab`; a VM on two hosts fails."""
    pairs = [(vm.name, daemon.name) for daemon in found for vm in daemon.fleet.machines("lab")]
    assert len(dict(pairs)) == len(pairs), pairs
    return dict(pairs)


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until something is true."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)
