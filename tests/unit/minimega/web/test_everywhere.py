"""The VMs of several hosts on one host's pages: listed, followed and reached, whatever the others do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from megatools.hostkit.errors import MegaError, NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.mesh.memory import MemoryNetwork
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.state.journal import Journal
from megatools.minimega.vm.backends.fake import FakeBackend, FakePorts
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.handlers import handlers
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.settings import VmSettings
from megatools.minimega.web.everywhere import EveryFleet
from megatools.minimega.web.fleet import Row, rows_of
from megatools.minimega.web.local import LocalFleet


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
        changes = one.changes()
        await lab.launch("kn2", "b")
        while [row["name"] for row in await _rows(one)] != ["b"]:
            await anext(changes)
        await lab.host("kn3")
        await lab.launch("kn3", "c")
        while [row["name"] for row in await _rows(one)] != ["b", "c"]:
            await anext(changes)
        lab.network.crash("kn2")
        while [row["name"] for row in await _rows(one)] != ["c"]:
            await anext(changes)


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
