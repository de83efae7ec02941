"""Hosts that decide about VLANs over a mesh in memory: journals, records, votes and all, without VMs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.authority import Authority
from megatools.minimega.cluster.replication import Replication
from megatools.minimega.cluster.roster import Roster
from megatools.minimega.cluster.vlan_care import VlanCare
from megatools.minimega.cluster.vlan_tables import VlanTables
from megatools.minimega.cluster.voting import Voting
from megatools.minimega.mesh.memory import MemoryMesh, MemoryNetwork
from megatools.minimega.namespace.membership import KIND as SPACE
from megatools.minimega.namespace.membership import Membership, SpaceRecord
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.journal_id import journal_id
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock


@dataclass
class Host:
    """One host; `in_use` are the tags of its ports."""

    name: str
    mesh: MemoryMesh
    shared: Shared
    roster: Roster
    membership: Membership
    vlans: Vlans
    tables: VlanTables
    authority: Authority
    care: VlanCare
    replication: Replication
    in_use: set[int]

    async def number(self, name: str, namespace: str = "minimega") -> int:
        """The number of a name, given now if it has none."""
        return (await self.vlans.resolve(namespace, name)).number

    def table(self, namespace: str = "minimega") -> dict[str, int]:
        """The names this host knows."""
        return {row.alias: row.vlan for row in self.vlans.rows(namespace)}


class VlanLab:
    """The hosts of one network."""

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self._path = path
        self._stack = stack
        self._lives: dict[str, AsyncExitStack] = {}
        self.network = MemoryNetwork()
        self.hosts: dict[str, Host] = {}

    async def start(self, *names: str) -> list[Host]:
        """Hosts, each with the journal an earlier one of its name left; returns once they know each other."""
        started = [await self._start(name) for name in names]
        for host in started:
            await host.authority.ready.wait()
        return started

    async def _start(self, name: str) -> Host:
        life = await self._stack.enter_async_context(AsyncExitStack())
        self._lives[name] = life
        journal = Journal(self._path / f"{name}.db", name)
        life.callback(journal.close)
        supervisor = await life.enter_async_context(Supervisor(name))
        mesh = self.network.join(name)
        shared = Shared(journal, StampClock(name))
        shared.recover()
        roster = Roster(shared, name, journal_id(journal))
        membership = Membership(shared, name, lambda: [member.name for member in mesh.members()])
        in_use: set[int] = set()
        vlans = Vlans(journal, lambda: in_use)
        vlans.recover()
        tables = VlanTables(shared, roster, membership, vlans)
        voting = Voting(journal, shared.clock, roster.id)
        authority = Authority(mesh, tables, voting, supervisor)
        replication = Replication(mesh, shared, journal, supervisor)
        care = VlanCare(mesh, tables, voting, authority, replication)
        care.recover()
        vlans.decided_by(authority, care.wake)
        authority.serve()
        replication.start()
        supervisor.start("care", care.run())
        supervisor.start("care: listen", care.listen())
        host = Host(name, mesh, shared, roster, membership, vlans, tables, authority, care, replication, in_use)
        self.hosts[name] = host
        return host

    async def crash(self, *names: str, wipe: bool = False) -> None:
        """Hosts are gone; with `wipe` also what was on their disks."""
        for name in names:
            self.network.crash(name)
            await self._lives.pop(name).aclose()
            del self.hosts[name]
            if wipe:
                for path in self._path.glob(f"{name}.db*"):
                    path.unlink()

    async def quit(self, name: str) -> None:
        """A daemon is told to quit: it says good-bye, and its journal is removed."""
        host = self.hosts[name]
        await host.roster.leave()
        await host.replication.tell(host.roster.entries())
        await self.crash(name, wipe=True)

    async def space(self, namespace: str, hosts: Sequence[str]) -> None:
        """All know a namespace with these hosts."""
        one = next(iter(self.hosts.values()))
        record = one.membership.record(namespace)
        incarnation = f"the first {namespace}" if record is None else record.incarnation
        await one.shared.put(SPACE, namespace, SpaceRecord(incarnation, hosts=tuple(hosts)))
        await self.agreed()

    async def agreed(self) -> None:
        """Wait until all hosts hold the same records, and know the same names."""

        def same() -> bool:
            roots = {host.shared.digest.root for host in self.hosts.values()}
            names = {repr(sorted(host.table().items())) for host in self.hosts.values()}
            return len(roots) == len(names) == 1

        await until(same)

    async def together(self, namespace: str = "minimega", names: Sequence[str] = ()) -> None:
        """Wait until these hosts (all) decide about a namespace, and nobody else has to agree."""
        wanted = set(names or self.hosts)

        def same() -> bool:
            keys = [(host, host.tables.key_of(namespace) or "") for host in self.hosts.values()]
            passed = [host.tables.passed(key) for host, key in keys]
            settled = all(decree is None or decree.former is None for decree in passed)
            return settled and self.council(namespace) == [wanted] * len(self.hosts)

        await until(same)

    def council(self, namespace: str = "minimega") -> list[set[str]]:
        """Who decides, as each host knows it."""
        keys = [host.tables.key_of(namespace) or "" for host in self.hosts.values()]
        return [set(host.tables.council(key).names) for host, key in zip(self.hosts.values(), keys, strict=True)]


@asynccontextmanager
async def vlan_lab(path: Path) -> AsyncIterator[VlanLab]:
    """A lab that ends with the block."""
    async with AsyncExitStack() as stack:
        yield VlanLab(path, stack)


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until something is true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)
