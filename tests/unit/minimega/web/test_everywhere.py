"""The VMs of several hosts on one host's pages: listed, followed and reached, whatever the others do."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.errors import MegaError, NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.lang.answer import Table
from megatools.minimega.mesh.memory import MemoryNetwork
from megatools.minimega.mesh.mesh import Caller, Member, Role
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm.backends.fake import FakeBackend, FakePorts
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.handlers import handlers
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.settings import VmSettings
from megatools.minimega.web import everywhere, telling
from megatools.minimega.web.everywhere import EveryFleet
from megatools.minimega.web.fleet import Row, rows_of
from megatools.minimega.web.local import LocalFleet
from megatools.minimega.web.tables import ALIVE
from megatools.minimega.web.telling import VMS


class Lab:
    """Hosts in memory, each with a fleet of imagined VMs and its pages' view."""

    def __init__(self, base: Path, stack: AsyncExitStack) -> None:
        self.network = MemoryNetwork()
        self._base, self._stack = base, stack
        self.fleets: dict[str, Fleet] = {}

    async def host(self, name: str, *, role: Role = Role.FULL, namespace: str = "") -> EveryFleet:
        base = self._base / name
        base.mkdir()
        journal = Journal(base / "journal.db", name)
        self._stack.callback(journal.close)
        supervisor = await self._stack.enter_async_context(Supervisor(name))
        fleet = self.fleets[name] = Fleet(
            base=base,
            files=base / "files",
            journal=journal,
            network=FakePorts(),
            backends={VmKind.KVM: FakeBackend()},
            supervisor=supervisor,
            settings=VmSettings(accelerator="tcg"),
            clock=StampClock("h"),
        )
        hosts = LocalHosts(name, handlers(fleet))
        mesh = self.network.join(name, role=role, namespace=namespace)
        return EveryFleet(LocalFleet(hosts, fleet), hosts, mesh, supervisor)

    async def launch(self, host: str, vm: str, namespace: str = "lab") -> None:
        (result,) = await self.fleets[host].launch([VmPlan(uuid=f"{host}-{vm}", name=vm, namespace=namespace)])
        assert result.error is None


@asynccontextmanager
async def _lab(path: Path) -> AsyncIterator[Lab]:
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        yield Lab(path, stack)


async def _rows(view: EveryFleet) -> list[Row]:
    return rows_of(await view.table())


class Viewer:
    """Somebody who follows the list, from when this is made."""

    def __init__(self, view: EveryFleet) -> None:
        self._view = view
        self._changes = view.changes()
        self._next = asyncio.ensure_future(anext(self._changes))

    async def sees(self, *vms: str, silent: Sequence[str] = ()) -> None:
        """Wait until these VMs, and no others, are in the list, and these hosts are named as silent."""
        await asyncio.sleep(0)  # the changes are followed from here on
        while [row["name"] for row in await _rows(self._view)] != [*vms] or list(self._view.silent()) != [*silent]:
            await self._next
            self._next = asyncio.ensure_future(anext(self._changes))

    async def leaves(self) -> None:
        self._next.cancel()
        await asyncio.wait([self._next])


async def test_one_look_shows_all_hosts(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        await lab.launch("kn1", "a")
        await lab.launch("kn2", "b")
        assert [(row["host"], row["namespace"], row["name"]) for row in await _rows(one)] == [
            ("kn1", "lab", "a"),
            ("kn2", "lab", "b"),
        ]


async def test_changes_elsewhere_are_followed_until_the_host_is_gone(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        viewer = Viewer(one)
        await viewer.sees()
        await lab.launch("kn2", "b")
        await viewer.sees("b")
        await lab.host("kn3")
        await lab.launch("kn3", "c")
        await viewer.sees("b", "c")
        lab.network.crash("kn2")
        await viewer.sees("c", silent=["kn2"])
        assert one.silent() == {"kn2": "it left the mesh"}
        await viewer.leaves()


async def test_a_host_of_another_version_is_named_and_the_others_stay_live(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        strange = lab.network.join("kn3")

        async def riddle(_caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
            yield b"\xc1 no message at all"

        strange.serve(VMS, riddle)
        await lab.launch("kn2", "b")
        assert [row["name"] for row in await _rows(one)] == ["b"]
        assert list(one.silent()) == ["kn3"]
        viewer = Viewer(one)
        await viewer.sees("b", silent=["kn3"])
        assert "another version" in one.silent()["kn3"]
        await lab.launch("kn2", "c")
        await viewer.sees("b", "c", silent=["kn3"])
        await lab.host("kn3")  # the right version now
        await viewer.sees("b", "c")
        await viewer.leaves()


async def test_other_columns_are_no_list(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        other = lab.network.join("kn2")

        async def shorter(_caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
            yield msgspec.msgpack.encode(Table(("host", "name"), (("kn2", "b"),)))

        other.serve(VMS, shorter)
        assert await _rows(one) == []
        assert "other columns" in one.silent()["kn2"]


@pytest.mark.parametrize("watched", [False, True])
async def test_a_host_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: bool) -> None:
    monkeypatch.setattr(everywhere, "_ONCE_S", 0.05)
    monkeypatch.setattr(everywhere, "_PATIENCE_S", 0.05)
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        lab.network.hanging.add("kn2")
        if watched:
            viewer = Viewer(one)
            await viewer.sees(silent=["kn2"])
            await viewer.leaves()
        else:
            await _rows(one)
        assert "does not answer" in one.silent()["kn2"]


async def test_a_host_that_hangs_after_it_told_is_named_until_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(everywhere, "_PATIENCE_S", 0.05)
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        other = lab.network.join("kn2")
        goes_on = asyncio.Event()

        async def hesitant(_caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
            yield msgspec.msgpack.encode(Table((await one.table()).header, ()))
            await goes_on.wait()
            while True:
                yield ALIVE
                await asyncio.sleep(0)

        other.serve(VMS, hesitant)
        viewer = Viewer(one)
        await viewer.sees(silent=["kn2"])
        assert one.silent()["kn2"].endswith("shown as they were")
        goes_on.set()
        await viewer.sees()
        await viewer.leaves()


async def test_hosts_that_are_followed_say_that_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "_ALIVE_S", 0.01)
    async with _lab(tmp_path) as lab:
        await lab.host("kn1")
        asking = lab.network.join("kn2")
        arrivals = asking.call(["kn1"], VMS, b"follow", timeout_s=10)
        assert msgspec.msgpack.decode((await anext(arrivals)).payload, type=Table).rows == ()
        assert [(await anext(arrivals)).payload for _ in range(2)] == [ALIVE, ALIVE]


async def test_a_watch_that_a_bug_ended_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        await lab.launch("kn2", "b")
        broken = asyncio.Event()

        def bug() -> Sequence[Member]:
            broken.set()
            raise RuntimeError("a bug")

        with monkeypatch.context() as patch:
            patch.setattr(lab.network.nodes["kn1"], "members", bug)
            viewer = Viewer(one)
            await broken.wait()
        while [row["name"] for row in await _rows(one)] != ["b"]:  # the feed looks now and then, whatever happens
            await asyncio.sleep(0)
        await viewer.leaves()


async def test_who_looks_while_a_viewer_comes_does_not_freeze_the_list(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        look = asyncio.ensure_future(_rows(one))
        await asyncio.sleep(0)  # it has asked the others
        viewer = Viewer(one)
        await look
        await lab.launch("kn2", "b")
        await viewer.sees("b")
        await viewer.leaves()


async def test_two_looks_at_once_see_the_same(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        await lab.launch("kn2", "b")
        looks = await asyncio.gather(*(_rows(one) for _ in range(5)))
        assert [[row["name"] for row in rows] for rows in looks] == [["b"]] * 5


async def test_a_node_limited_to_a_namespace_sees_no_other(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1", namespace="lab")
        await lab.host("kn2")
        await lab.launch("kn2", "mine")
        await lab.launch("kn2", "other", "secret")
        rows = await _rows(one)
        assert [row["name"] for row in rows] == ["mine"]


async def test_a_console_elsewhere(tmp_path: Path) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1")
        await lab.host("kn2")
        await lab.launch("kn2", "b")

        async def backwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readexactly(5))[::-1])
            await writer.drain()
            writer.close()

        socket = lab.fleets["kn2"].console("lab", "b")
        async with await asyncio.start_unix_server(backwards, str(socket)):
            (row,) = await _rows(one)
            reader, writer = await one.console(row)
            writer.write(b"hello")
            assert await reader.read() == b"olleh"
            writer.close()


@pytest.mark.parametrize(("role", "namespace"), [(Role.READ_ONLY, ""), (Role.FULL, "other")])
async def test_who_may_not_use_a_console_gets_no_byte(tmp_path: Path, role: Role, namespace: str) -> None:
    async with _lab(tmp_path) as lab:
        one = await lab.host("kn1", role=role, namespace=namespace)
        await lab.host("kn2")
        await lab.launch("kn2", "b")
        with pytest.raises(MegaError):
            reader, writer = await one.console({"host": "kn2", "namespace": "lab", "uuid": "kn2-b"})
            got = await reader.read()
            writer.close()
            if not got:
                raise NotFound("closed without a byte")
