"""The pages' view of all hosts: this one's VMs and those its peers tell of; consoles through the mesh. Made by `app`.

::

    viewers here --> watch: a call to each member's service `vms`, which sends its table after every change
    console of a VM elsewhere --> stream to that member's service `console` --> its VNC socket

What a member answers is in `telling`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing

import msgspec

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.host_facts import HostInfo
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.lang.answer import Table
from megatools.minimega.lang.operation import HostResult, Request
from megatools.minimega.mesh.mesh import Mesh
from megatools.minimega.vnc.relay import Console
from megatools.minimega.web import telling
from megatools.minimega.web.fleet import Row, Verb
from megatools.minimega.web.local import LocalFleet
from megatools.minimega.web.tables import HostTables
from megatools.minimega.web.telling import CONSOLE, FOLLOW, LINKS, ONCE, VMS, ConsoleWanted

_log = logging.getLogger(__name__)
_WATCH_S = 3600.0
_ONCE_S = 2.0
_PATIENCE_S = 3.0
_AGAIN_S = 1.0


class EveryFleet:
    """Satisfies `FleetView` for a mesh of any size, one included."""

    def __init__(self, local: LocalFleet, hosts: Hosts, mesh: Mesh, supervisor: Supervisor) -> None:
        self._local = local
        self._hosts = hosts
        self._mesh = mesh
        self._supervisor = supervisor
        self._told = HostTables(())
        self._listeners: set[asyncio.Event] = set()
        self._watching: asyncio.Task[None] | None = None
        telling.serve(local, mesh)

    @property
    def host(self) -> str:
        """The name of this host."""
        return self._local.host

    async def table(self) -> Table:
        """Every VM of every host that told of its own; `silent` names the others."""
        told = self._told
        if self._listeners:
            self._keep_watching()
        else:
            told = await self._ask_all()
            if not self._listeners:  # else what is followed since then is newer, and goes on
                self._told = told
        local = self._local.table()
        rows = list(local.rows)
        for _, table in sorted(told.tables.items()):
            rows += table.rows
        return Table(local.header, tuple(rows))

    def silent(self) -> Mapping[str, str]:
        """The hosts whose VMs the last table lacks or has as they were, and why."""
        return dict(sorted(self._told.silent.items()))

    async def hosts(self) -> Sequence[Mapping[str, str]]:
        """What each host is, has and is connected to."""
        names = tuple(dict.fromkeys([self.host, *(member.name for member in self._mesh.members())]))
        results, links = await asyncio.gather(self._facts(names), self._links(names))
        found = [_line(name, results.get(name), links.get(name, ())) for name in names]
        return [{**found[0], "state": "here"}, *found[1:]]

    async def _facts(self, names: Sequence[str]) -> Mapping[str, HostResult]:
        """What hosts say of themselves, of those that do so soon: a page waits for nobody else."""
        found: dict[str, HostResult] = {}
        request = Request("minimega", HostInfo(), tuple(names))
        try:
            async with asyncio.timeout(_ONCE_S), aclosing(self._hosts.stream(request)) as results:  # type: ignore[type-var]
                async for result in results:
                    found[result.host] = result
        except TimeoutError:
            _log.debug("hosts that do not say what they have: %s", names)
        return found

    async def changes(self) -> AsyncIterator[object]:
        """Yields whenever something about a VM changed, here or elsewhere; the others are watched meanwhile."""
        news = asyncio.Event()
        self._listeners.add(news)
        self._keep_watching()
        try:
            while True:
                await news.wait()
                news.clear()
                yield None
        finally:
            self._listeners.discard(news)
            if not self._listeners and self._watching is not None:
                self._watching.cancel()
                self._watching = None

    async def console(self, vm: Row) -> Console:
        """A connection to a VM's console, wherever it is."""
        if vm["host"] == self.host:
            return await self._local.console(vm["namespace"], vm["uuid"])
        request = msgspec.msgpack.encode(ConsoleWanted(vm["namespace"], vm["uuid"]))
        stream = await self._mesh.open(vm["host"], CONSOLE, request)
        return stream.reader, stream.writer

    async def screenshot(self, vm: Row, max_px: int) -> bytes:
        """A VM's screen as PNG, wherever it is."""
        return await self._local.screenshot(vm, max_px)

    async def control(self, vm: Row, verb: Verb) -> None:
        """Start, stop or kill one VM, wherever it is."""
        await self._local.control(vm, verb)

    # ---- watching others, while somebody watches us

    def _notify(self) -> None:
        for news in self._listeners:
            news.set()

    def _keep_watching(self) -> None:
        """Watch, also again after a bug ended it (the log has it)."""
        if self._watching is None or self._watching.done():
            self._watching = self._supervisor.start("watch the VMs of all hosts", self._watch())

    async def _watch(self) -> None:
        """Follow this host and every member there is; ends when it is cancelled."""
        following: dict[str, tuple[str, asyncio.Task[None]]] = {}
        told = self._told = self._nothing()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_local())
                while True:
                    members = {member.id: member.name for member in self._mesh.members() if not member.doubled}
                    for gone in following.keys() - members.keys():
                        left, task = following.pop(gone)
                        task.cancel()
                        told.miss(left, "it left the mesh")
                        self._notify()
                    for member_id, name in members.items():
                        if member_id not in following:
                            following[member_id] = name, group.create_task(self._follow(name, told))
                    await self._membership_changes()
        finally:
            self._told = self._nothing()

    async def _membership_changes(self) -> None:
        """Wait for a member to come or go, or a while: events between two waits are seen then."""
        try:
            async with asyncio.timeout(_AGAIN_S), aclosing(self._mesh.events()) as events:  # type: ignore[type-var]
                async for _ in events:
                    return
        except TimeoutError:
            return

    async def _follow_local(self) -> None:
        async for _ in self._local.changes():
            self._notify()

    async def _follow(self, host: str, told: HostTables) -> None:
        """Take a host's tables as they come, until it is no member any more."""
        loop = asyncio.get_running_loop()
        patience = loop.call_later(_PATIENCE_S, self._grow_impatient, told, host)
        try:
            while True:
                async with aclosing(self._mesh.call([host], VMS, FOLLOW, timeout_s=_WATCH_S)) as arrivals:  # type: ignore[type-var]
                    async for arrival in arrivals:
                        patience.cancel()
                        patience = loop.call_later(_PATIENCE_S, self._grow_impatient, told, host)
                        if told.hear(arrival):
                            self._notify()
                await asyncio.sleep(_AGAIN_S)  # it refused or broke off: not more often than this
        finally:
            patience.cancel()

    def _grow_impatient(self, told: HostTables, host: str) -> None:
        told.late(host)
        self._notify()

    async def _ask_all(self) -> HostTables:
        """The tables of all members, once."""
        told = self._nothing()
        names = [member.name for member in self._mesh.members() if not member.doubled]
        async for arrival in self._mesh.call(names, VMS, ONCE, timeout_s=_ONCE_S):
            told.hear(arrival)
        return told

    def _nothing(self) -> HostTables:
        return HostTables(self._local.table().header)

    async def _links(self, names: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """Whom each host is connected to, of those that say."""
        found: dict[str, list[str]] = {}
        async for arrival in self._mesh.call(names, LINKS, b"", timeout_s=_ONCE_S):
            if arrival.ending is None:
                try:
                    found[arrival.host] = msgspec.msgpack.decode(arrival.payload, type=list[str])
                except msgspec.MsgspecError as error:
                    _log.warning('the links of "%s" cannot be read here: %s', arrival.host, error)
        return found


def _line(name: str, result: HostResult | None, links: Sequence[str]) -> Mapping[str, str]:
    """A host as the page shows it."""
    shown = {"name": name, "links": ",".join(links)}
    if result is None:
        return {**shown, "state": "does not answer"}
    if result.answer is None or result.answer.table is None:
        return {**shown, "state": result.error.partition("\n")[0] or result.outcome.value}
    table = result.answer.table
    return {**dict(zip(table.header, table.rows[0], strict=True)), **shown, "state": "connected"}
