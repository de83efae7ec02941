"""Shared records over a mesh in memory: pushed, compared, agreed on again after whatever went wrong."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster import exchange, replication
from megatools.minimega.cluster.exchange import Push
from megatools.minimega.cluster.replication import Replication
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Arrival, Caller, Ending, Handler, Role
from megatools.minimega.state.journal import Delete, Journal
from megatools.minimega.state.shared import TOMBSTONE_MS, Entry, Shared
from megatools.minimega.state.stamps import Stamp, StampClock
from tests.unit.minimega.state.full_disk import full_disk

_NOW_MS = 1_800_000_000_000


class Note(msgspec.Struct, frozen=True):
    """A record."""

    text: str


@dataclass
class Node:
    """One node: what it knows and how it tells."""

    shared: Shared
    mesh: MemoryMesh
    replication: Replication
    journal: Journal


class Lab:
    """Nodes on one network, each with a journal of its own; `now_ms` is the time everywhere."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self._path = path
        self._stack = stack
        self.network = MemoryNetwork()
        self.now_ms = _NOW_MS
        self.nodes: dict[str, Node] = {}

    async def start(self, name: str, *, role: Role = Role.FULL, namespace: str = "", skew_ms: int = 0) -> Node:
        """A node, which reads what an earlier one of its name wrote."""
        journal = Journal(self._path / f"{name}.db", name)
        self._stack.callback(journal.close)
        shared = Shared(journal, StampClock(name, lambda: self.now_ms + skew_ms))
        shared.recover()
        supervisor = await self._stack.enter_async_context(Supervisor(name))
        mesh = self.network.join(name, role=role, namespace=namespace)
        node = Node(shared, mesh, Replication(mesh, shared, journal, supervisor), journal)
        node.replication.start()
        self.nodes[name] = node
        return node

    async def agreed(self) -> None:
        """Wait until all nodes hold the same."""
        await until(lambda: len({node.shared.digest.root for node in self.nodes.values()}) == 1)


@asynccontextmanager
async def _lab(path: Path) -> AsyncIterator[Lab]:
    async with AsyncExitStack() as stack:
        yield Lab(path, stack)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


async def _asked(node: MemoryMesh, target: str, message: bytes) -> list[Arrival]:
    return [arrival async for arrival in node.call([target], "shared", message, timeout_s=5)]


async def test_a_write_is_everywhere_at_once(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        for name in ("kn1", "kn2", "kn3"):
            await lab.start(name)
        await lab.nodes["kn2"].shared.put("note", "a", Note("x"))
        await until(lambda: all(node.shared.get("note", "a", Note) == Note("x") for node in lab.nodes.values()))


async def test_many_writes_travel_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _lab(tmp_path) as lab:
        one, two = await lab.start("kn1"), await lab.start("kn2")
        assert await one.replication.settled() and await two.replication.settled()
        pushes: list[int] = []
        serve = two.replication._exchanger.serve

        def counted(caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
            if b'"type":"Push"' in request:
                pushes.append(len(request))
            return serve(caller, request)

        two.mesh.serve("shared", counted)
        await asyncio.gather(*(one.shared.put("note", str(number), Note("x" * 100)) for number in range(500)))
        await until(lambda: len(two.shared.all("note", Note)) == 500)
        assert len(pushes) < 50
        assert max(pushes) < 1_000_000


async def test_who_comes_later_learns_all_and_tells_all_in_bounded_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "_BYTES_AT_ONCE", 2_000)
    monkeypatch.setattr(exchange, "_KEYS_AT_ONCE", 20)
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        await one.shared.put_all("note", {f"one-{number}": Note("x" * 50) for number in range(300)})
        lab.network.cut("kn1", "kn2")
        two = await lab.start("kn2")
        await two.shared.put_all("note", {f"two-{number}": Note("y" * 50) for number in range(300)})
        lab.network.heal()
        await lab.agreed()
        assert len(one.shared.all("note", Note)) == 600


async def test_nobody_is_served_before_what_it_knows_is_known(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        await one.shared.put("note", "kill", Note("a"))
        two = await lab.start("kn2")
        assert await two.replication.settled("kn1")
        assert two.shared.get("note", "kill", Note) == Note("a")
        assert await two.replication.settled()
        assert not await two.replication.settled("kn9")
        lab.network.hanging.add("kn1")
        lab.network.cut("kn1", "kn2")
        await one.shared.put("note", "kill", Note("b"))
        lab.network.mend("kn1", "kn2")
        assert not await two.replication.settled("kn1", timeout_s=0.05)


async def test_both_sides_of_a_partition_agree_after_it(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        names = ["kn1", "kn2", "kn3", "kn4", "kn5"]
        for name in names:
            await lab.start(name)
        await lab.nodes["kn1"].shared.put_all("note", {"kept": Note("x"), "gone": Note("y")})
        await lab.agreed()
        lab.network.partition(["kn1", "kn2"], ["kn3", "kn4", "kn5"])
        lab.now_ms += 1
        await lab.nodes["kn1"].shared.put("note", "kept", Note("left"))
        await lab.nodes["kn4"].shared.remove("note", "gone")
        lab.now_ms += 1
        await lab.nodes["kn5"].shared.put("note", "kept", Note("right"))
        lab.network.heal()
        await lab.agreed()
        assert lab.nodes["kn2"].shared.all("note", Note) == {"kept": Note("right")}


async def test_a_node_that_hung_is_compared_with_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "PATIENCE_S", 0.05)
    monkeypatch.setattr(replication, "_PERIOD_S", 0.05)
    async with _lab(tmp_path) as lab:
        one, two = await lab.start("kn1"), await lab.start("kn2")
        assert await one.replication.settled()
        lab.network.hanging.add("kn2")
        for number in range(20):
            await one.shared.put("note", str(number), Note("x"))
        lab.network.hanging.clear()
        await until(lambda: len(two.shared.all("note", Note)) == 20)


async def test_a_restarted_node_has_what_it_had_and_gets_the_rest(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        await lab.start("kn2")
        await one.shared.put("note", "a", Note("before"))
        await lab.agreed()
        lab.network.crash("kn2")
        await one.shared.put("note", "b", Note("meanwhile"))
        two = await lab.start("kn2")
        assert two.shared.get("note", "a", Note) == Note("before")
        assert await two.replication.settled()
        assert two.shared.get("note", "b", Note) == Note("meanwhile")


async def test_who_was_away_past_the_life_of_tombstones_brings_nothing_back(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one, two = await lab.start("kn1"), await lab.start("kn2")
        await until(lambda: two.replication._synced.last_ms > 0 and one.replication._synced.last_ms > 0)
        lab.now_ms += 1000
        await one.shared.put_all("note", {"a": Note("removed while kn2 was away"), "b": Note("kept")})
        lab.network.cut("kn1", "kn2")
        lab.network.mend("kn1", "kn2")
        lab.now_ms += replication._NOTE_EACH_MS
        await lab.agreed()
        await until(lambda: (tmp_path / "kn2.db").exists() and two.replication._synced.last_ms > lab.now_ms - 10_000)
        lab.network.crash("kn2")
        await one.shared.remove("note", "a")
        lab.now_ms += TOMBSTONE_MS + 7_200_000
        await one.shared.collect()
        assert [entry.id for entry in one.shared.entries()] == ["b"]
        two = await lab.start("kn2")
        assert "a" in two.shared.all("note", Note)
        await two.shared.put("note", "c", Note("new"))
        await lab.agreed()
        assert sorted(one.shared.all("note", Note)) == ["b", "c"]


async def test_what_limited_nodes_write_about_others_is_not_taken(tmp_path: Path) -> None:
    """Neither when they send it, nor when it is found at them: they were away when they wrote it."""
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        guest = await lab.start("kn7", namespace="lab")
        reader = await lab.start("kn8", role=Role.READ_ONLY)
        for limited in ("kn7", "kn8"):
            lab.network.cut("kn1", limited)
        for kind, id in (
            ("member", "kn1/3"),
            ("host-address", "kn7"),
            ("host-address", "kn1"),
            ("revoked", "kn7"),
            ("member", "kn7"),
        ):
            await guest.shared.put(kind, id, Note("from kn7"))
            await reader.shared.put(kind, id.replace("kn7", "kn8"), Note("from kn8"))
        for limited in ("kn7", "kn8"):
            lab.network.mend("kn1", limited)
        await until(lambda: one.shared.get("member", "kn7", Note) is not None)
        assert await one.replication.settled()
        assert {(entry.kind, entry.id) for entry in one.shared.entries()} == {
            ("host-address", "kn7"),
            ("member", "kn7"),
        }


async def test_what_is_no_message_is_refused(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        two = lab.network.join("kn2")
        (end,) = await _asked(two, "kn1", b"hello")
        assert (end.ending, end.kind) == (Ending.ERROR, "ProtocolError")
        insane = Entry("note", "a", Stamp(1 << 60, 0, "kn2"), msgspec.Raw(b"{}"))
        (end,) = await _asked(two, "kn1", msgspec.json.encode(Push((insane,))))
        assert (end.ending, end.kind) == (Ending.ERROR, "InvalidInput")
        assert not one.shared.entries()


async def test_clocks_that_differ_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        await lab.start("kn2", skew_ms=300_000)
        for _ in range(2):
            assert await one.replication.settled("kn2")
            lab.network.cut("kn1", "kn2")
            lab.network.mend("kn1", "kn2")
    said = [text for text in caplog.messages if text.startswith('the clock of "kn2" differs')]
    assert said == ['the clock of "kn2" differs from this node\'s by 300 s']


async def test_a_full_disk_is_answered_at_once_and_made_good_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "_PERIOD_S", 0.0)
    async with _lab(tmp_path) as lab:
        one = await lab.start("kn1")
        await one.shared.put("note", "a", Note("x"))
        await one.shared.remove("note", "a")
        lab.network.cut("kn1", "kn2")
        two = await lab.start("kn2")
        await two.shared.put("note", "b", Note("y"))
        with full_disk(one.journal) as refused:
            lab.network.heal()
            assert not await one.replication.settled("kn2", timeout_s=20)
            lab.now_ms += 2 * TOMBSTONE_MS  # there is something to collect, which is refused too
            await until(lambda: any(isinstance(change, Delete) for change in refused))
        lab.now_ms -= 2 * TOMBSTONE_MS
        await lab.agreed()
        assert one.shared.get("note", "b", Note) == Note("y")
        await until(lambda: not one.replication._behind)


async def test_of_many_that_come_at_once_each_pair_compares_once_when_it_is_calm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication, "_PERIOD_S", 60.0)
    names = [f"kn{number}" for number in range(1, 9)]
    compared: list[tuple[str, str]] = []
    async with _lab(tmp_path) as lab:
        for name in names:
            node = await lab.start(name)
            serve = node.replication._exchanger.serve

            def noted(
                caller: Caller, request: bytes, to: str = name, serve: Handler = serve
            ) -> AsyncGenerator[bytes, None]:
                if b'"type":"Compare"' in request:
                    compared.append((caller.name, to))
                return serve(caller, request)

            node.mesh.serve("shared", noted)
        assert await lab.nodes["kn5"].replication.settled(hurry=False)
        assert all(await asyncio.gather(*(node.replication.settled(hurry=False) for node in lab.nodes.values())))
        pairs = {frozenset(pair) for pair in compared}
        assert len(pairs) == 28
        at_once = replication._AT_ONCE * len(names)
        assert len(compared) <= 28 + at_once


async def test_who_is_waited_for_is_compared_with_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "_CALM_S", 60.0)
    monkeypatch.setattr(replication, "_LONGEST_CALM_S", 60.0)
    async with _lab(tmp_path) as lab:
        for number in range(1, 8):
            await lab.start(f"kn{number}")
        last = lab.nodes["kn7"].replication
        assert not await last.settled(timeout_s=0.05, hurry=False)
        assert await last.settled("kn6")
        assert not await last.settled(timeout_s=0.05, hurry=False)
        assert await last.settled()
