"""Tells who waits for a launch which images are on their way, host by host. Used by `launches`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager

from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.files.coming import FilesComing
from megatools.minimega.lang.operation import HostResult, Request

ASK_EVERY_S = 1.0
_MOST = 4  # files that one line names


@asynccontextmanager
async def told(
    hosts: Hosts, namespace: str, busy: Callable[[], Collection[str]], tell: Callable[[str], None]
) -> AsyncGenerator[None]:
    """While the block runs, ask the busy hosts every second what they fetch, and tell it when there is something."""
    asking = asyncio.create_task(_ask(hosts, namespace, busy, tell))
    try:
        yield
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask(hosts: Hosts, namespace: str, busy: Callable[[], Collection[str]], tell: Callable[[str], None]) -> None:
    while True:
        await asyncio.sleep(ASK_EVERY_S)  # how often a person wants to be told, not a wait for something
        asked = tuple(busy())
        if asked:
            text = arrivals_text(await hosts.run(Request(namespace, FilesComing(), asked)))
            if text:
                tell(text)


def arrivals_text(results: Collection[HostResult]) -> str:
    """A line about what is on its way, in chunks of 4 MiB; empty when nothing is known to be."""
    parts: list[str] = []
    for result in results:
        table = result.answer.table if result.answer is not None else None
        if table is None:
            continue
        name, completed = table.header.index("filename"), table.header.index("completed")
        parts += [f"{result.host} {row[name]} {row[completed]}" for row in table.rows]
    if not parts:
        return ""
    more = f", and {len(parts) - _MOST} more" if len(parts) > _MOST else ""
    return f"fetching images: {', '.join(parts[:_MOST])}{more}"
