"""Asking hosts one question and hearing their answers as they come, until enough is known. Used by `proposing`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import aclosing

import msgspec

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.vlan_messages import SERVICE, Question, Reply
from megatools.minimega.mesh.mesh import Mesh

PATIENCE_S = 2.0
_GRACE_S = 0.25
_decoder = msgspec.msgpack.Decoder[Reply](Reply)


class Poll:
    """One question to hosts; this host answers itself without the mesh."""

    def __init__(self, mesh: Mesh, supervisor: Supervisor, here: Callable[[Question], Awaitable[Reply]]) -> None:
        self._mesh = mesh
        self._supervisor = supervisor
        self._here = here
        self._answers: asyncio.Queue[tuple[str, Reply | None]] = asyncio.Queue()
        self.asked: set[str] = set()
        self.silent: dict[str, str] = {}  # who did not answer, and why
        self._waiting: set[str] = set()

    async def ask(self, hosts: Collection[str], request: Question) -> None:
        """Ask those that were not asked yet; this host has answered before the others are asked."""
        new = [host for host in hosts if host not in self.asked]
        self.asked.update(new)
        self._waiting.update(new)
        if self._mesh.name in new:
            new.remove(self._mesh.name)
            self._answers.put_nowait((self._mesh.name, await self._here(request)))
        if new:
            self._supervisor.start("ask about VLANs", self._call(new, msgspec.msgpack.encode(request)))

    async def _call(self, hosts: list[str], request: bytes) -> None:
        async for arrival in self._mesh.call(hosts, SERVICE, request, timeout_s=PATIENCE_S):
            if arrival.ending is not None:
                self.silent[arrival.host] = arrival.error or str(arrival.ending)
                self._answers.put_nowait((arrival.host, None))
                continue
            try:
                self._answers.put_nowait((arrival.host, _decoder.decode(arrival.payload)))
            except msgspec.MsgspecError as error:
                self.silent[arrival.host] = f"unreadable answer: {error}"

    async def answers(self, enough: Callable[[], bool]) -> AsyncIterator[tuple[str, Reply]]:
        """The answers as they come; once they are enough, only those that are about to come are waited for."""
        async with aclosing(self._upcoming(enough)) as upcoming:  # type: ignore[type-var]
            async for host, reply in upcoming:
                self._waiting.discard(host)
                if reply is not None:
                    self.silent.pop(host, None)
                    yield host, reply

    async def _upcoming(self, enough: Callable[[], bool]) -> AsyncIterator[tuple[str, Reply | None]]:
        loop = asyncio.get_running_loop()
        until: float | None = None
        while self._waiting or not self._answers.empty():
            if until is None and enough():
                until = loop.time() + _GRACE_S
            try:
                async with asyncio.timeout_at(until):
                    answer = await self._answers.get()
            except TimeoutError:
                return
            yield answer
