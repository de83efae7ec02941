"""The mesh in memory keeps the promises of `Mesh`: one end per target, whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Arrival
from tests.support.mesh_conformance import Eventful, Peaceful
from tests.support.mesh_services import Services


class _Node:
    def __init__(self, mesh: MemoryMesh) -> None:
        self.name = mesh.name
        self.events: list[tuple[str, bool]] = []
        self.become(mesh)

    def become(self, mesh: MemoryMesh) -> None:
        self.mesh = mesh
        self.services = Services(mesh)
        self.listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        async for event in self.mesh.events():
            self.events.append((event.member.name, event.joined))

    async def members(self) -> list[str]:
        return [member.name for member in self.mesh.members()]

    async def done(self) -> list[str]:
        return self.services.done

    async def dial(self, address: str) -> None:
        await self.mesh.dial(address)

    async def hangup(self, name: str) -> None:
        await self.mesh.hangup(name)

    async def call(
        self, targets: Sequence[str], service: str, request: bytes = b"", *, timeout_s: float = 20.0, take: int = -1
    ) -> AsyncIterator[Arrival]:
        call = self.mesh.call(targets, service, request, timeout_s=timeout_s)
        try:
            async for arrival in call:
                yield arrival
                take -= 1
                if take == 0:
                    return
        finally:
            await call.aclose()  # type: ignore[attr-defined]


class _Site:
    short_s = 0.2

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.nodes = [_Node(self.network.join(f"kn{number}")) for number in (1, 2, 3)]

    def address(self, name: str) -> str:
        return f"{name}:9000"

    async def crash(self, name: str) -> None:
        self.network.crash(name)

    async def restart(self, name: str) -> None:
        next(node for node in self.nodes if node.name == name).become(self.network.join(name))

    async def hang(self, name: str) -> None:
        self.network.hanging.add(name)

    async def go_on(self, name: str) -> None:
        self.network.hanging.discard(name)

    async def cut(self, name: str) -> None:
        self.network.partition([name], [node.name for node in self.nodes if node.name != name])

    async def mend(self, name: str) -> None:
        self.network.heal()

    async def end(self) -> None:
        for node in self.nodes:
            await node.mesh.close()
            await node.listening


@pytest.fixture
async def site() -> AsyncIterator[_Site]:
    made = _Site()
    yield made
    await made.end()


class TestPeaceful(Peaceful):
    """The suite of both twins."""


class TestEventful(Eventful):
    """The suite of both twins."""


async def test_comings_and_goings_are_told(site: _Site) -> None:
    one, two, three = site.nodes
    await asyncio.sleep(0)
    site.network.partition(["kn1"], ["kn2", "kn3"])
    site.network.heal()
    await asyncio.sleep(0)
    assert one.events == [("kn2", False), ("kn3", False), ("kn2", True), ("kn3", True)]
    assert two.events == [("kn1", False), ("kn1", True)]
    assert three.events == two.events
