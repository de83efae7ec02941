"""What every mesh keeps, whichever twin it is: the tests of `Mesh` itself, and what a site must offer for them.

`tests/unit/minimega/mesh/test_memory.py` and `tests/integration/zenoh/test_conformance.py` run them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol

import pytest

from megatools.minimega.mesh.mesh import Arrival, Ending

PATIENCE_S = 30.0


class Node(Protocol):
    """A node of a site; it serves `tests.support.mesh_services`."""

    @property
    def name(self) -> str: ...
    @property
    def events(self) -> Sequence[tuple[str, bool]]: ...
    async def members(self) -> list[str]: ...
    async def done(self) -> list[str]: ...
    async def dial(self, address: str) -> None: ...
    async def hangup(self, name: str) -> None: ...
    def call(
        self, targets: Sequence[str], service: str, request: bytes = b"", *, timeout_s: float = 20.0, take: int = -1
    ) -> AsyncIterator[Arrival]: ...


class Site(Protocol):
    """Three nodes, kn1 to kn3, that see each other, and what can happen to them."""

    nodes: Sequence[Node]
    short_s: float
    """Long enough for an answer of a node that is well."""

    async def crash(self, name: str) -> None: ...
    async def restart(self, name: str) -> None: ...
    async def hang(self, name: str) -> None: ...
    async def go_on(self, name: str) -> None: ...
    async def cut(self, name: str) -> None: ...
    async def mend(self, name: str) -> None: ...
    def address(self, name: str) -> str: ...


async def until(condition: Callable[[], Awaitable[object]], timeout_s: float = PATIENCE_S) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.02)


async def sees(node: Node, *names: str) -> None:
    """Wait until a node's members are exactly these."""

    async def right() -> bool:
        return await node.members() == sorted(names)

    try:
        await until(right)
    except TimeoutError:
        pytest.fail(f"{node.name} sees {await node.members()}, not {sorted(names)}")


async def asked(
    node: Node, targets: Sequence[str], service: str, request: bytes = b"", *, timeout_s: float = 20.0
) -> list[Arrival]:
    """All that comes back."""
    return [arrival async for arrival in node.call(targets, service, request, timeout_s=timeout_s)]


def ends(arrivals: Sequence[Arrival]) -> dict[str, Ending]:
    """How it ended at each target; exactly one end each, and nothing after it."""
    found: dict[str, Ending] = {}
    for arrival in arrivals:
        assert arrival.host not in found, f"{arrival.host} went on after its end"
        if arrival.ending is not None:
            found[arrival.host] = arrival.ending
    return found


def parts(arrivals: Sequence[Arrival], name: str) -> list[bytes]:
    """The parts of one target's answer."""
    return [arrival.payload for arrival in arrivals if arrival.host == name and arrival.ending is None]


class Peaceful:
    """Nothing happens to the nodes."""

    async def test_discovery(self, site: Site) -> None:
        for node in site.nodes:
            await sees(node, *({"kn1", "kn2", "kn3"} - {node.name}))

    @pytest.mark.parametrize("targets", [["kn1"], ["kn2"], ["kn2", "kn3"], ["kn1", "kn2", "kn3", "kn2"]])
    async def test_parts_and_one_end_from_each(self, site: Site, targets: list[str]) -> None:
        arrivals = await asked(site.nodes[0], targets, "echo", b"x")
        assert ends(arrivals) == dict.fromkeys(targets, Ending.DONE)
        assert all(parts(arrivals, name) == [b"kn1", b"x"] for name in targets)

    async def test_nobody_is_asked_who_was_not_meant(self, site: Site) -> None:
        before = len(await site.nodes[2].done())
        await asked(site.nodes[0], ["kn2"], "note")
        await asked(site.nodes[0], ["kn1", "kn2"], "note")
        assert len(await site.nodes[2].done()) == before

    @pytest.mark.parametrize("target", ["kn1", "kn2"])
    async def test_errors_come_back_with_kind_and_hint(self, site: Site, target: str) -> None:
        (end,) = await asked(site.nodes[0], [target], "refuse")
        assert (end.ending, end.error, end.hint, end.kind) == (Ending.ERROR, "not now", "later", "InvalidState")
        (end,) = await asked(site.nodes[0], [target], "unheard-of")
        assert (end.ending, end.kind) == (Ending.ERROR, "NotFound")
        assert "unheard-of" in end.error

    async def test_a_bug_there_is_one_line_here(self, site: Site) -> None:
        (end,) = await asked(site.nodes[0], ["kn2"], "fail")
        assert end.ending is Ending.ERROR
        assert "ZeroDivisionError" in end.error

    async def test_who_is_not_there_is_lost_at_once(self, site: Site) -> None:
        arrivals = await asked(site.nodes[0], ["kn9", "kn2"], "echo")
        assert ends(arrivals) == {"kn9": Ending.LOST, "kn2": Ending.DONE}

    async def test_ten_thousand_lines_in_order(self, site: Site) -> None:
        arrivals = await asked(site.nodes[0], ["kn1", "kn2", "kn3"], "lines", b"10000", timeout_s=60)
        assert set(ends(arrivals).values()) == {Ending.DONE}
        for name in ("kn1", "kn2", "kn3"):
            assert parts(arrivals, name) == [b"line %d" % number for number in range(10_000)]

    async def test_parts_that_come_one_by_one(self, site: Site) -> None:
        arrivals = await asked(site.nodes[0], ["kn2"], "count", b"500")
        assert parts(arrivals, "kn2") == [b"%d" % number for number in range(500)]
        assert ends(arrivals) == {"kn2": Ending.DONE}

    async def test_large_parts(self, site: Site) -> None:
        arrivals = await asked(site.nodes[0], ["kn2", "kn3"], "bulk", b"12", timeout_s=60)
        assert ends(arrivals) == {"kn2": Ending.DONE, "kn3": Ending.DONE}
        assert [len(part) for part in parts(arrivals, "kn3")] == [1 << 20] * 12

    async def test_silence_times_out_and_the_others_are_not_held_up(self, site: Site) -> None:
        seen = [
            arrival async for arrival in site.nodes[0].call(["kn2", "kn3"], "sleep", b"kn3", timeout_s=site.short_s)
        ]
        assert ends(seen) == {"kn2": Ending.DONE, "kn3": Ending.TIMED_OUT}
        assert seen[-1].host == "kn3", "the answer of the other came first"

    async def test_closing_early_ends_what_runs_there(self, site: Site) -> None:
        before = (await site.nodes[1].done()).count("ended")
        async with aclosing(site.nodes[0].call(["kn2"], "hang", take=1)) as arrivals:  # type: ignore[type-var]
            assert [arrival.payload async for arrival in arrivals] == [b"first"]

        async def ended() -> bool:
            return (await site.nodes[1].done()).count("ended") == before + 1

        await until(ended)

    async def test_a_hundred_calls_at_once_do_not_mix(self, site: Site) -> None:
        async def one(number: int) -> None:
            node = site.nodes[number % 3]
            arrivals = await asked(node, ["kn1", "kn2", "kn3"], "echo", b"%d" % number)
            assert all(parts(arrivals, name)[-1] == b"%d" % number for name in ("kn1", "kn2", "kn3"))
            assert set(ends(arrivals).values()) == {Ending.DONE}

        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(one(number))


class Eventful:
    """Things happen to the nodes; each test leaves them as it found them."""

    async def test_a_node_killed_mid_answer_is_lost_and_comes_back(self, site: Site) -> None:
        one, two, _ = site.nodes
        before = len(one.events)
        seen: list[Arrival] = []
        async for arrival in one.call(["kn2", "kn3"], "count_slowly", b"8 %d" % (site.short_s * 100)):
            seen.append(arrival)
            if len(seen) == 2:
                await site.crash("kn2")
        assert ends(seen) == {"kn2": Ending.LOST, "kn3": Ending.DONE}
        assert parts(seen, "kn3") == [b"%d" % number for number in range(8)]
        await sees(one, "kn3")
        assert ends(await asked(one, ["kn2"], "echo")) == {"kn2": Ending.LOST}
        await site.restart(two.name)
        await sees(one, "kn2", "kn3")
        assert ends(await asked(one, ["kn2", "kn3"], "echo")) == {"kn2": Ending.DONE, "kn3": Ending.DONE}
        assert list(one.events[before:]) == [("kn2", False), ("kn2", True)]

    async def test_a_node_that_hangs_times_out_and_goes_on(self, site: Site) -> None:
        one = site.nodes[0]
        await site.hang("kn2")
        arrivals = await asked(one, ["kn1", "kn2", "kn3"], "echo", timeout_s=site.short_s)
        assert ends(arrivals) == {"kn1": Ending.DONE, "kn2": Ending.TIMED_OUT, "kn3": Ending.DONE}
        assert arrivals[-1].host == "kn2"
        await site.go_on("kn2")
        for node in site.nodes:
            await sees(node, *({"kn1", "kn2", "kn3"} - {node.name}))
        assert ends(await asked(one, ["kn2"], "echo")) == {"kn2": Ending.DONE}

    async def test_a_partition_heals(self, site: Site) -> None:
        one, two, three = site.nodes
        await site.cut("kn1")
        await sees(two, "kn3")
        await sees(one)
        assert ends(await asked(two, ["kn1", "kn3"], "echo")) == {"kn1": Ending.LOST, "kn3": Ending.DONE}
        assert ends(await asked(one, ["kn1", "kn3"], "echo")) == {"kn1": Ending.DONE, "kn3": Ending.LOST}
        await site.mend("kn1")
        await sees(one, "kn2", "kn3")
        await sees(three, "kn1", "kn2")
        assert ends(await asked(one, ["kn2", "kn3"], "echo")) == {"kn2": Ending.DONE, "kn3": Ending.DONE}

    async def test_hanging_up_lasts_until_dialled(self, site: Site) -> None:
        one, two, three = site.nodes
        await one.hangup("kn2")
        await sees(one, "kn3")
        await sees(two, "kn3")
        await sees(three, "kn1", "kn2")
        assert ends(await asked(two, ["kn1"], "echo")) == {"kn1": Ending.LOST}
        await two.dial(site.address("kn1"))
        await sees(one, "kn2", "kn3")
        await sees(two, "kn1", "kn3")
        assert ends(await asked(one, ["kn2"], "echo")) == {"kn2": Ending.DONE}
