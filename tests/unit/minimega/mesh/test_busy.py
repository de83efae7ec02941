"""Which calls an engine that is to be replaced waits for: those that would be missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import engine_keeper, wire
from megatools.minimega.mesh.answering import Answering
from megatools.minimega.mesh.clique import ZenohMesh
from megatools.minimega.mesh.frames import Answer, Deny, ToEngine
from megatools.minimega.mesh.mesh import Caller
from megatools.minimega.mesh.plan import MeshPlan
from megatools.minimega.mesh.standing import AlwaysOpen, Standing

pytestmark = pytest.mark.anyio


async def _hang(_caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
    yield b"begun"
    await asyncio.Event().wait()


@pytest.mark.parametrize(("service", "busy"), [("run", True), ("vms", False)])
async def test_calls_that_are_begun_again_by_themselves_do_not_count(service: str, busy: bool) -> None:
    async with Supervisor("test") as supervisor:
        mesh = ZenohMesh(MeshPlan("kn1", AlwaysOpen(), renewed=frozenset(("vms",))), supervisor)
        mesh.serve(service, _hang)
        assert not mesh.busy()
        async with aclosing(mesh.call(["kn1"], service, b"", timeout_s=10)) as arrivals:  # type: ignore[type-var]
            async for arrival in arrivals:
                assert arrival.payload == b"begun"
                assert mesh.busy() is busy
                break
        assert not mesh.busy()


@pytest.mark.parametrize(("service", "busy"), [("run", True), ("vms", False)])
async def test_nor_do_answers_to_them(service: str, busy: bool) -> None:
    sent: list[Answer] = []
    async with Supervisor("test") as supervisor:
        answering = Answering("kn1", supervisor, sent.append, renewed=frozenset(("vms",)))
        answering.id = "1d"
        answering.handlers[service] = _hang
        request = wire.encode(wire.Request(b"run", 1, "kn2", (b"\x1d",), service, 10.0, b""))
        answering.asked(1, wire.encode(wire.Signed(request, b"")))
        async with asyncio.timeout(10):
            while not sent:
                await asyncio.sleep(0)
        assert answering.busy is busy
        answering.lost("kn2")


# ---- what the keeper of the engine makes of it


class _Engine:
    """Stands for an engine process."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.denied: list[tuple[str, ...]] = []

    def send(self, frame: ToEngine) -> None:
        assert isinstance(frame, Deny)
        self.denied.append(frame.names)


class _Standings(AlwaysOpen):
    """How the node stands is what the test says."""

    standing = Standing("tls", denied=("kn8#1",))

    def now(self) -> Standing:
        return self.standing


@pytest.mark.parametrize("eager_s", [0.0, 60.0])
async def test_the_engine_is_replaced_after_the_calls_however_long_they_take(
    eager_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_keeper, "_QUIET_S", 0.0)
    monkeypatch.setattr(engine_keeper, "_EAGER_S", eager_s)
    async with Supervisor("test") as supervisor:
        standings, engine = _Standings(), _Engine()
        mesh = ZenohMesh(MeshPlan("kn1", standings), supervisor)
        mesh.serve("run", _hang)
        keeper = mesh._keeper
        keeper.standing = Standing("tls")
        call = mesh.call(["kn1"], "run", b"", timeout_s=1000)
        await anext(call)
        denying = asyncio.create_task(keeper._deny(engine, standings.now()))  # type: ignore[arg-type]
        looks = 0

        def busy() -> bool:
            nonlocal looks
            looks += 1
            return ZenohMesh.busy(mesh)

        monkeypatch.setattr(mesh, "busy", busy)
        async with asyncio.timeout(10):
            while looks < 3:
                keeper._wake.set()
                await asyncio.sleep(0)
        standings.standing = Standing("tls", denied=("kn8#1", "kn9#1"))
        while looks < 6:
            keeper._wake.set()
            await asyncio.sleep(0)
        assert not denying.done()
        assert engine.denied == [("kn8#1",), ("kn8#1", "kn9#1")]
        await call.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            await denying


async def test_it_does_not_wait_when_more_than_that_changed() -> None:
    async with Supervisor("test") as supervisor:
        standings, engine = _Standings(), _Engine()
        mesh = ZenohMesh(MeshPlan("kn1", standings), supervisor)
        mesh._keeper.standing = Standing("tls")
        mesh.busy = lambda: True  # type: ignore[method-assign]
        denying = asyncio.create_task(mesh._keeper._deny(engine, standings.now()))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        standings.standing = Standing("off")
        async with asyncio.timeout(10):
            await denying
