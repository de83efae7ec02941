"""The answering end: what a caller hears while its request waits at the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from megatools.hostkit.errors import Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import answering as module
from megatools.minimega.mesh import wire
from megatools.minimega.mesh.answering import Answering
from megatools.minimega.mesh.frames import Answer
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.mesh import Caller

pytestmark = pytest.mark.anyio


class _Lab:
    """A node whose gate is closed until `gate_open` is set."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.gate_open = asyncio.Event()
        self.refusal: Unavailable | None = None
        gate = Gate()
        gate.keeper = self
        gate.patient = frozenset(("run",))
        self.sent: list[Answer] = []
        self.answering = Answering("kn1", supervisor, self.sent.append, gate)
        self.answering.id = "1d"
        for service in ("run", "shared"):
            self.answering.handlers[service] = self._answer
        self._serial = 0

    def admits(self, _caller: str) -> bool:
        return self.refusal is None and self.gate_open.is_set()

    async def admitted(self, _caller: str) -> bool:
        await self.gate_open.wait()
        if self.refusal is not None:
            raise self.refusal
        return True

    async def _answer(self, _caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        yield request

    def ask(self, service: str) -> None:
        self._serial += 1
        request = wire.Request(b"run", self._serial, "kn2", (b"\x1d",), service, 10.0, b"question")
        self.answering.asked(self._serial, wire.encode(wire.Signed(wire.encode(request), b"")))

    @property
    def replies(self) -> list[wire.Reply]:
        return [msgspec.msgpack.decode(answer.payload, type=wire.Reply) for answer in self.sent]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                await asyncio.sleep(0)


async def test_who_waits_at_the_gate_hears_that_this_node_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIGN_S", 0.001)
    async with Supervisor("test") as supervisor:
        lab = _Lab(supervisor)
        lab.ask("run")
        await lab.until(3)
        assert {reply.parts for reply in lab.replies} == {(b"",)}
        assert [reply.number for reply in lab.replies] == list(range(len(lab.replies)))
        lab.gate_open.set()
        async with asyncio.timeout(10):
            while lab.replies[-1].end is None:
                await asyncio.sleep(0)
        assert lab.replies[-1] == wire.Reply(len(lab.replies) - 1, (b"question",), wire.End())
        count = len(lab.sent)
        later = asyncio.get_running_loop().time() + 0.01
        while asyncio.get_running_loop().time() < later:
            await asyncio.sleep(0)
        assert len(lab.sent) == count


async def test_other_services_take_no_empty_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIGN_S", 0.0)
    async with Supervisor("test") as supervisor:
        lab = _Lab(supervisor)
        lab.ask("shared")
        for _ in range(20):
            await asyncio.sleep(0)
        assert lab.sent == []
        lab.gate_open.set()
        await lab.until(1)
        assert lab.replies == [wire.Reply(0, (b"question",), wire.End())]


async def test_a_refusal_of_the_gate_is_the_answer() -> None:
    async with Supervisor("test") as supervisor:
        lab = _Lab(supervisor)
        lab.refusal = Unavailable("not yet", hint="wait")
        lab.gate_open.set()
        lab.ask("run")
        await lab.until(1)
        assert lab.replies == [
            wire.Reply(0, (), wire.End(failed=True, error="not yet", hint="wait", kind="Unavailable"))
        ]
