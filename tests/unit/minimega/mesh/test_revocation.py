"""Revocations: believed only from nodes that may do everything, passed on by anyone, known before anybody is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.clock import FakeClock
from megatools.hostkit.errors import InvalidState, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh import credentials, returning, revocation
from megatools.minimega.mesh.credentials import MEMBERS_FILE, CredentialStore, Revocation
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.issuing import Authority, found_cluster
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.mesh.mesh import Caller, Handler, MeshStatus, Role
from megatools.minimega.mesh.revocation import Revocations, believed, signed


class Cluster:
    """An authority, and nodes of a mesh in memory that hold certificates."""

    def __init__(self, directory: Path, supervisor: Supervisor) -> None:
        self.directory = directory
        self.supervisor = supervisor
        self.network = MemoryNetwork()
        self.clock = FakeClock()
        self.authority: Authority = found_cluster(self.store("kn0"), "", ())

    def store(self, name: str) -> CredentialStore:
        return CredentialStore(self.directory / name, name, self.clock)

    def node(self, name: str, role: Role = Role.FULL, namespace: str = "") -> Node:
        store = self.store(name)
        if not store.is_member:
            store.save(self.authority.credentials(name, role, namespace))
        return Node(self, store)

    def entry(self, name: str) -> Revocation:
        known = self.authority.member(name)
        assert known is not None
        return known.revocation(self.clock.now())


class Node:
    """A node that is in the mesh."""

    def __init__(self, cluster: Cluster, store: CredentialStore) -> None:
        self.store = store
        own = store.load()
        assert own is not None
        certificate = own.certificate.names.common
        self.mesh: MemoryMesh = cluster.network.join(store.host, certificate=certificate)
        self.mesh.status = lambda: MeshStatus("tls", "clique", "memory", 0)  # type: ignore[method-assign]
        self.gate = Gate()
        self.part = Revocations(self.mesh, store, cluster.supervisor, self.gate)
        self.part.start()

    def knows(self, name: str) -> bool:
        return any(entry.name == name for entry in self.store.revoked.values())


@asynccontextmanager
async def in_memory(directory: Path) -> AsyncIterator[Cluster]:
    async with Supervisor("test") as supervisor:
        yield Cluster(directory, supervisor)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with in_memory(tmp_path) as found:
        yield found


async def until(node: Node, name: str) -> None:
    async with asyncio.timeout(10):
        while not node.knows(name):
            await asyncio.sleep(0)


async def test_all_members_know_at_once(cluster: Cluster) -> None:
    one, two, three = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))
    assert await one.part.revoke([cluster.entry("kn2")]) == []
    assert one.knows("kn2") and two.knows("kn2")
    assert three.knows("kn2")  # it need not wonder


async def test_a_member_that_does_not_answer_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_ASK_S", 0.01)
    one, _, _ = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))
    cluster.network.hanging.add("kn1")
    assert await one.part.revoke([cluster.entry("kn2")]) == ["kn1"]


async def test_who_comes_learns_and_brings(cluster: Cluster) -> None:
    cluster.authority.credentials("old1")
    cluster.authority.credentials("old2")
    one, two = cluster.node("kn0"), cluster.node("kn1")
    cluster.network.cut("kn0", "kn1")
    await one.part.revoke([cluster.entry("old1")])
    await two.part.revoke([cluster.entry("old2")])
    assert not two.knows("old1") and not one.knows("old2")
    cluster.network.mend("kn0", "kn1")
    await until(two, "old1")
    await until(one, "old2")


async def test_limited_nodes_may_not_revoke(cluster: Cluster) -> None:
    victim = cluster.node("kn1")
    for name, role, namespace in (("reader", Role.READ_ONLY, ""), ("tenant", Role.FULL, "red")):
        limited = cluster.node(name, role, namespace)
        with pytest.raises(InvalidState, match="may not revoke"):
            await limited.part.revoke([cluster.entry("kn1")])
        own = limited.store.load()
        assert own is not None
        limited.store.revoke([signed(cluster.entry("kn1"), own)])  # it says so all the same
    newcomer = cluster.node("kn2")
    await newcomer.part.admitted("reader")
    assert not newcomer.knows("kn1") and not victim.knows("kn1")


def test_only_what_a_full_node_signed_is_believed(tmp_path: Path) -> None:
    clock = FakeClock()
    store = CredentialStore(tmp_path / "kn0", "kn0", clock)
    authority = found_cluster(store, "", ())
    own = store.load()
    assert own is not None
    full, reader = authority.credentials("full"), authority.credentials("reader", Role.READ_ONLY)
    other = found_cluster(CredentialStore(tmp_path / "other", "full", clock), "", ()).credentials("full2")
    entry = Revocation("abc", "kn9", "kn9#abc", 5)
    good = signed(entry, full)
    assert believed([good], own) == [good]
    for bad in (
        entry,
        signed(entry, reader),
        signed(entry, other),
        msgspec.structs.replace(good, serial="abd"),
        msgspec.structs.replace(good, name="kn8"),
        msgspec.structs.replace(good, common_name="kn8#abc"),
        msgspec.structs.replace(good, proof=b"nonsense"),
    ):
        assert believed([bad], own) == []


def test_a_revocation_outlives_who_made_it(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "kn0", "kn0", FakeClock())
    authority = found_cluster(store, "", ())
    own, maker = store.load(), authority.credentials("kn1")
    assert own is not None
    made = signed(Revocation("abc", "kn9", "kn9#abc", 5), maker)
    known = authority.member("kn1")
    assert known is not None
    store.revoke([known.revocation(store.clock.now())])
    assert believed([made], own) == [made]


# the gate


async def test_who_came_is_served_once_those_there_have_answered(cluster: Cluster) -> None:
    """kn2 was away while kn1 was revoked: it knows before it serves kn1, and needs to ask no more later."""
    one, _ = cluster.node("kn0"), cluster.node("kn1")
    await one.part.revoke([cluster.entry("kn1")])
    returned = cluster.node("kn2")
    assert await returned.gate.passed("kn1", "run")
    assert returned.knows("kn1")
    assert not await returned.gate.passed("kn1", "run")


async def turns() -> None:
    """Let all that is ready go on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_those_that_went_together_are_waited_for(cluster: Cluster) -> None:
    """kn2 is cut off from all, and kn1 revoked: when kn1 is back first, it is held until kn0 is back too."""
    one, bad, away = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))
    await turns()
    cluster.network.cut("kn0", "kn2")
    cluster.network.cut("kn1", "kn2")
    await turns()
    await one.part.revoke([cluster.entry("kn1")])
    bad.store.forget()  # it does not tell of it itself
    cluster.network.mend("kn1", "kn2")
    held = asyncio.create_task(away.gate.passed("kn1", "run"))
    await turns()
    assert not held.done() and not away.knows("kn1")
    cluster.network.mend("kn0", "kn2")
    async with asyncio.timeout(10):
        assert await held
    assert away.knows("kn1")


async def test_those_there_were_before_a_restart_are_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kn2 was down while kn1 was revoked: it knows from before that kn0 is to be expected."""
    monkeypatch.setattr(revocation, "_SAVE_AFTER_S", 0.0)
    one, bad, away = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))
    await turns()
    assert (away.store.directory / MEMBERS_FILE).read_text() == '["kn0","kn1"]'
    cluster.network.crash("kn2")
    await one.part.revoke([cluster.entry("kn1")])
    bad.store.forget()
    cluster.network.crash("kn0")
    returned = cluster.node("kn2")
    held = asyncio.create_task(returned.gate.passed("kn1", "run"))
    await turns()
    assert not held.done() and not returned.knows("kn1")
    cluster.node("kn0")
    async with asyncio.timeout(10):
        assert await held
    assert returned.knows("kn1")


async def test_those_that_were_gone_before_are_not_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kn0 went some time before kn1, so kn2 would know what it knew of kn1."""
    monkeypatch.setattr(returning, "TOGETHER_S", 0.0)
    for name in ("kn0", "kn1"):
        cluster.node(name)
    stayed = cluster.node("kn2")
    await turns()
    cluster.network.crash("kn0")
    await turns()
    cluster.network.cut("kn1", "kn2")
    await turns()
    cluster.network.mend("kn1", "kn2")
    async with asyncio.timeout(revocation._LONGEST_HOLD_S / 2):
        await stayed.gate.passed("kn1", "run")


async def test_revoked_nodes_are_not_waited_for(cluster: Cluster) -> None:
    one, _, three = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))
    await turns()
    cluster.network.crash("kn1")
    cluster.network.cut("kn0", "kn2")
    await turns()
    await one.part.revoke([cluster.entry("kn1")])
    cluster.network.mend("kn0", "kn2")
    async with asyncio.timeout(revocation._LONGEST_HOLD_S / 2):
        await three.gate.passed("kn0", "run")
    assert three.knows("kn1")


async def test_nobody_waits_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_ASK_S", 0.02)
    monkeypatch.setattr(revocation, "_LONGEST_HOLD_S", 0.02)
    monkeypatch.setattr(revocation, "_ALONE_S", 0.02)
    monkeypatch.setattr(revocation, "_SLACK_S", 5.0)
    one, _ = cluster.node("kn0"), cluster.node("kn1")
    cluster.node("kn2")
    await turns()
    cluster.network.crash("kn2")  # for good
    cluster.network.cut("kn0", "kn1")
    await turns()
    cluster.network.mend("kn0", "kn1")
    cluster.network.hanging.add("kn1")
    async with asyncio.timeout(5):
        assert await one.gate.passed("kn1", "run")
        assert await one.gate.passed("stranger", "run")  # asks before it was seen


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are held for moments only, and members kept at once."""
    for name, seconds in {"_LONGEST_HOLD_S": 0.02, "_ASK_S": 0.2, "_SLACK_S": 0.1, "_SAVE_AFTER_S": 0.0}.items():
        monkeypatch.setattr(revocation, name, seconds)


async def returned_alone_with_a_revoked_one(cluster: Cluster) -> Node:
    """kn2 was down while kn0 revoked kn1, and kn0 is away now; kn2 is back and meets kn1 only."""
    one, bad, _ = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))
    await turns()
    cluster.network.crash("kn2")
    await one.part.revoke([cluster.entry("kn1")])
    bad.store.forget()
    cluster.network.crash("kn0")
    return cluster.node("kn2")


async def served(node: Node, caller: str) -> None:
    """Ask until it is not refused."""
    async with asyncio.timeout(10):
        while True:
            try:
                await node.gate.passed(caller, "run")
            except Unavailable:
                await asyncio.sleep(0)
            else:
                return


@pytest.mark.usefixtures("hurried")
async def test_who_is_alone_with_one_node_refuses_it_until_another_is_back(cluster: Cluster) -> None:
    returned = await returned_alone_with_a_revoked_one(cluster)
    for _ in range(2):
        with pytest.raises(Unavailable, match='"kn2" was away and meets only "kn1" of those it knew'):
            await returned.gate.passed("kn1", "run")
    await turns()
    assert (returned.store.directory / MEMBERS_FILE).read_text() == '["kn0","kn1"]', "a restart does not forget kn0"
    cluster.node("kn0")
    await served(returned, "kn1")
    assert returned.knows("kn1")


@pytest.mark.usefixtures("hurried")
async def test_nor_does_it_serve_one_that_asks_before_it_was_seen(cluster: Cluster) -> None:
    returned = await returned_alone_with_a_revoked_one(cluster)
    await turns()
    with pytest.raises(Unavailable):
        await returned.gate.passed("kn1", "run")
    cluster.network.cut("kn1", "kn2")
    with pytest.raises(Unavailable):
        await returned.gate.passed("kn1", "run")


@pytest.mark.usefixtures("hurried")
async def test_but_not_for_ever(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "_ALONE_S", 1.0)
    returned = await returned_alone_with_a_revoked_one(cluster)
    with pytest.raises(Unavailable):
        await returned.gate.passed("kn1", "run")
    path = returned.store.directory / MEMBERS_FILE
    async with asyncio.timeout(10):
        while path.read_text() != '["kn1"]':
            await asyncio.sleep(0)
    assert not await returned.gate.passed("kn1", "run")


@pytest.mark.usefixtures("hurried")
async def test_nor_for_those_that_were_given_up(cluster: Cluster) -> None:
    returned = await returned_alone_with_a_revoked_one(cluster)
    with pytest.raises(Unavailable):
        await returned.gate.passed("kn1", "run")
    returned.part.give_up("kn0")
    await served(returned, "kn1")


@pytest.mark.usefixtures("hurried")
async def test_those_that_stayed_are_not_held_up_by_some_that_went(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of five go, and one of them for good: the other is served, for it was not we who were away."""
    monkeypatch.setattr(revocation, "_SLACK_S", 5.0)
    stayed, *_ = (cluster.node(f"kn{number}") for number in range(5))
    await turns()
    cluster.network.crash("kn3")
    cluster.network.crash("kn4")
    await turns()
    cluster.node("kn3")
    async with asyncio.timeout(10):
        assert await stayed.gate.passed("kn3", "run")


async def test_a_damaged_list_of_members_is_none(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    store = cluster.store("kn0")
    path = store.directory / MEMBERS_FILE
    path.write_text("[")
    path.chmod(0o600)
    one = cluster.node("kn0")
    assert "the members of the last time are not known" in caplog.text
    cluster.node("kn1")
    async with asyncio.timeout(5):
        await one.gate.passed("kn1", "run")


async def test_what_the_gate_waits_for_passes_it(cluster: Cluster) -> None:
    one = cluster.node("kn0")
    assert not await one.gate.passed("stranger", revocation.SERVICE)


async def test_without_certificates_nobody_is_held(cluster: Cluster) -> None:
    one = cluster.node("kn0")
    one.mesh.status = lambda: MeshStatus("open", "clique", "memory", 0)  # type: ignore[method-assign]
    assert not await one.gate.passed("stranger", "run")


async def test_what_the_disk_does_not_take_counts_all_the_same_and_is_written_later(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "_SAVE_AGAIN_S", 0.01)
    one, two, _ = (cluster.node(name) for name in ("kn0", "kn1", "kn2"))

    def refuse(*_args: object) -> None:
        raise Unavailable("no room")

    with monkeypatch.context() as full:
        full.setattr(credentials, "write_atomically", refuse)
        entries = [signed(cluster.entry("kn2"), one.part._own())]  # type: ignore[arg-type]
        two.part._take(entries)
        assert two.knows("kn2")
        with pytest.raises(Unavailable):
            two.part._store.write_revoked()
    async with asyncio.timeout(10):
        while not cluster.store("kn1").revoked:
            await asyncio.sleep(0)


# who asks whom


async def _heard(cluster: Cluster, one: Node, two: Node) -> list[str]:
    """Who asks whom when two nodes meet: `ASKER ASKED`, in order."""
    asked: list[str] = []
    for node in (one, two):
        serve = node.part._serve

        def noted(
            caller: Caller, request: bytes, node: Node = node, serve: Handler = serve
        ) -> AsyncGenerator[bytes, None]:
            asked.append(f"{caller.name} {node.mesh.name}")
            return serve(caller, request)

        node.mesh.serve(revocation.SERVICE, noted)
    cluster.network.mend(one.mesh.name, two.mesh.name)
    for caller, node in ((one, two), (two, one)):
        await node.gate.passed(caller.mesh.name, "run")
    return asked


async def _apart(cluster: Cluster) -> tuple[Node, Node]:
    one, two = cluster.node("kn1"), cluster.node("kn2")
    await turns()
    cluster.network.cut("kn1", "kn2")
    await turns()
    return one, two


async def test_one_question_is_enough_for_two_that_know_the_same(cluster: Cluster) -> None:
    assert await _heard(cluster, *await _apart(cluster)) == ["kn1 kn2"]


async def test_both_ask_when_one_of_them_knows_more(cluster: Cluster) -> None:
    cluster.node("kn0")
    one, two = await _apart(cluster)
    await one.part.revoke([cluster.entry("kn0")])
    assert not two.knows("kn0")
    assert sorted(await _heard(cluster, one, two)) == ["kn1 kn2", "kn2 kn1"]
    assert two.knows("kn0")


async def test_a_revoked_node_does_not_speak_for_the_one_that_is_called_like_it_now(cluster: Cluster) -> None:
    """kn2 knows nothing of it; who has the old certificate of kn1 says that it does not either."""
    cluster.store("kn1").save(cluster.authority.credentials("kn1"))
    old = cluster.entry("kn1")
    stolen = Caller("kn1", certificate=old.common_name)
    await cluster.node("kn0").part.revoke([old])
    cluster.store("kn1").forget()
    cluster.authority._store._revoked = None  # as after a restart: it is read from disk again
    one = cluster.node("kn1")
    await turns()
    assert one.knows("kn1")
    cluster.network.crash("kn0")
    nothing = revocation._encode(revocation.Known())
    for name in ("a0", "kn2"):  # before and behind kn1
        late = cluster.node(name)
        async for _ in late.part._serve(stolen, nothing):
            pass
        await turns()
        async for _ in late.part._serve(stolen, nothing):
            pass
        await late.gate.passed("kn1", "run")
        assert late.knows("kn1")


async def test_what_a_node_said_before_it_went_does_not_count_when_it_is_back(cluster: Cluster) -> None:
    cluster.node("kn0")
    one, two = await _apart(cluster)
    assert await _heard(cluster, one, two) == ["kn1 kn2"]
    cluster.network.cut("kn1", "kn2")
    await turns()
    await one.part.revoke([cluster.entry("kn0")])
    assert "kn2 kn1" in await _heard(cluster, one, two)
    assert two.knows("kn0")
