"""Mesh nodes on hosts of their own (network namespaces), and what can happen to them, for tests of the real mesh."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import Authority, found_cluster
from tests.support import hosts
from tests.support.hosts import Host, Lab
from tests.support.mesh_conformance import sees
from tests.support.mesh_node import MeshNode

ENGINE = "megatools.minimega.mesh.engine"


class Site:
    """Hosts kn1, kn2, ..., each with a node once it was started."""

    short_s = 2.0

    def __init__(self, lab: Lab, place: Path) -> None:
        self.lab = lab
        self.place = place
        self._nodes: dict[str, MeshNode] = {}
        self._settings: dict[str, dict[str, object]] = {}

    @property
    def nodes(self) -> list[MeshNode]:
        """The nodes by the number of their host."""
        return [self._nodes[host.name] for host in self.lab.hosts if host.name in self._nodes]

    @property
    def names(self) -> list[str]:
        """All names."""
        return [host.name for host in self.lab.hosts]

    def host(self, name: str) -> Host:
        """The host of a node."""
        return next(host for host in self.lab.hosts if host.name == name)

    def address(self, name: str) -> str:
        """Where others dial it."""
        return self.host(name).address

    async def start(self, name: str, *, claimed: str = "", **settings: object) -> MeshNode:
        """Start a node, by default under its host's name; settings are those of `MeshPlan`."""
        self._settings[name] = {"name": claimed or name, **settings}
        node = self._nodes[name] = MeshNode(claimed or name)
        await node.start(self.host(name).prefix, self._settings[name])
        return node

    async def start_all(self, **settings: object) -> None:
        """Start a node on each host and wait until they see each other."""
        for name in self.names:
            await self.start(name, **settings)
        for node in self.nodes:
            await sees(node, *(set(self.names) - {node.name}))

    def found_cluster(self, *names: str) -> Authority:
        """Make a cluster of the hosts named (all), with a directory of credentials for each; see `directory`."""
        first, *rest = names or self.names
        authority = found_cluster(CredentialStore(self.directory(first), first), "lab", ())
        for name in rest:
            CredentialStore(self.directory(name), name).save(authority.credentials(name))
        return authority

    def directory(self, name: str) -> Path:
        """Where a host's credentials are."""
        return self.place / name

    async def start_cluster(self) -> Authority:
        """A cluster with a node on each host, up."""
        authority = self.found_cluster()
        for name in self.names:
            await self.start(name, cluster=str(self.directory(name)))
        for node in self.nodes:
            await sees(node, *(set(self.names) - {node.name}))
        return authority

    async def crash(self, name: str) -> None:
        """kill -9: the node, and its engine with it."""
        self._nodes[name].kill()
        await self._nodes[name].gone()

    async def restart(self, name: str) -> None:
        """Start a node again that is gone."""
        await self._nodes[name].start(self.host(name).prefix, self._settings[name])

    async def hang(self, name: str) -> None:
        """SIGSTOP of the node and its engine."""
        self._nodes[name].process.send_signal(signal.SIGSTOP)
        self.host(name).signal(signal.SIGSTOP, ENGINE)

    async def go_on(self, name: str) -> None:
        """SIGCONT."""
        self.host(name).signal(signal.SIGCONT, ENGINE)
        self._nodes[name].process.send_signal(signal.SIGCONT)

    async def cut(self, name: str) -> None:
        """Pull the plug."""
        self.host(name).cut()

    async def mend(self, name: str) -> None:
        """Plug in again."""
        self.host(name).mend()

    def engine(self, name: str) -> int:
        """The process id of a node's engine."""
        (pid,) = self.host(name).pids(ENGINE)
        return pid

    async def end(self) -> None:
        """End all nodes."""
        async with asyncio.TaskGroup() as group:
            for node in self._nodes.values():
                group.create_task(node.end())


@contextlib.asynccontextmanager
async def mesh_site(count: int) -> AsyncIterator[Site]:
    """Hosts without nodes; all is removed at the end."""
    with hosts.lab(count) as lab, tempfile.TemporaryDirectory(prefix="mt-") as place:
        site = Site(lab, Path(place))
        try:
            yield site
        finally:
            await site.end()
