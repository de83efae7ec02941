"""The mesh in memory keeps the promises of `Mesh`: one end per target, whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from megatools.hostkit.errors import InvalidState
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Arrival, Caller, Ending


async def _echo(caller: Caller, request: bytes) -> AsyncIterator[bytes]:
    yield caller.name.encode()
    yield request


async def _refuse(_: Caller, __: bytes) -> AsyncIterator[bytes]:
    raise InvalidState("not now", hint="later")
    yield b""


async def _hang(_: Caller, __: bytes) -> AsyncIterator[bytes]:
    yield b"first"
    await asyncio.Event().wait()


def _nodes(*names: str) -> tuple[MemoryNetwork, list[MemoryMesh]]:
    network = MemoryNetwork()
    nodes = [network.join(name) for name in names]
    for node in nodes:
        node.serve("echo", _echo)
        node.serve("refuse", _refuse)
        node.serve("hang", _hang)
    return network, nodes


async def _asked(node: MemoryMesh, targets: list[str], service: str, timeout_s: float = 5.0) -> list[Arrival]:
    return [arrival async for arrival in node.call(targets, service, b"x", timeout_s=timeout_s)]


def _ends(arrivals: list[Arrival]) -> dict[str, Ending]:
    ends = [arrival for arrival in arrivals if arrival.ending is not None]
    assert len({end.host for end in ends}) == len(ends)
    return {end.host: end.ending for end in ends if end.ending is not None}


async def test_parts_and_one_end_from_each() -> None:
    _, (one, *_) = _nodes("one", "two", "three")
    arrivals = await _asked(one, ["one", "two", "three", "two"], "echo")
    assert _ends(arrivals) == dict.fromkeys(("one", "two", "three"), Ending.DONE)
    assert [a.payload for a in arrivals if a.host == "two" and a.ending is None] == [b"one", b"x"]


async def test_errors_come_back_with_kind_and_hint() -> None:
    _, (one, _) = _nodes("one", "two")
    (end,) = await _asked(one, ["two"], "refuse")
    assert (end.ending, end.error, end.hint, end.kind) == (Ending.ERROR, "not now", "later", "InvalidState")


async def test_absent_lost_and_silent_nodes_end_too() -> None:
    network, (one, *_) = _nodes("one", "two", "three")
    network.hanging.add("three")
    seen: list[Arrival] = []
    async with aclosing(one.call(["two", "three", "four"], "hang", b"", timeout_s=0.2)) as arrivals:
        async for arrival in arrivals:
            seen.append(arrival)
            if arrival.payload == b"first":
                network.crash("two")
    assert _ends(seen) == {"two": Ending.LOST, "three": Ending.TIMED_OUT, "four": Ending.LOST}


async def test_partitions_heal_and_are_told() -> None:
    network, (one, two, three) = _nodes("one", "two", "three")
    told: list[tuple[str, bool]] = []

    async def listen() -> None:
        async for event in one.events():
            told.append((event.member.name, event.joined))

    task = asyncio.create_task(listen())
    await asyncio.sleep(0)
    network.partition(["one"], ["two", "three"])
    assert [member.name for member in one.members()] == []
    assert [member.name for member in two.members()] == ["three"]
    assert _ends(await _asked(three, ["one", "two"], "echo")) == {"one": Ending.LOST, "two": Ending.DONE}
    network.heal()
    await asyncio.sleep(0)
    assert [member.name for member in one.members()] == ["three", "two"]
    assert told == [("two", False), ("three", False), ("three", True), ("two", True)]
    await one.close()
    await task
