"""Nodes of a side channel in one process, over the loopback interface, for the tests beside this file."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from megatools.hostkit.errors import NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.channel import Channel
from megatools.minimega.mesh.credentials import Credentials, CredentialStore
from megatools.minimega.mesh.issuing import Authority, found_cluster
from megatools.minimega.mesh.mesh import Caller, Member, Role
from megatools.minimega.mesh.tls import Secured

# Below the ports that the kernel gives to connections (ip_local_port_range).
_ports = itertools.count(10000 + os.getpid() % 1000 * 20)


class Side:
    """One node: its channel, what it shares (`files`), and who asked it for what."""

    def __init__(self, name: str, channel: Channel, files: Path, store: CredentialStore | None) -> None:
        self.name = name
        self.channel = channel
        self.files = files
        self.store = store
        self.asked: list[tuple[Caller, str]] = []
        self.port = next(_ports)
        channel.listen("127.0.0.1", self.port)
        channel.share(self._find)

    @property
    def member(self) -> Member:
        """As others see it."""
        return Member(self.name, f"{self.name}#1", f"127.0.0.1:{self.port}")

    def put(self, name: str, content: bytes) -> Path:
        """Share a file."""
        path = self.files / name
        path.write_bytes(content)
        return path

    async def pull(self, other: Side, name: str, offset: int, length: int, into: Path) -> int:
        """Pull from another node."""
        descriptor = os.open(into, os.O_RDWR | os.O_CREAT)
        try:
            return await self.channel.pull(other.member, name, offset, length, descriptor)
        finally:
            os.close(descriptor)

    def _find(self, caller: Caller, name: str) -> Path:
        self.asked.append((caller, name))
        if name == "missing":
            raise NotFound('there is no file "missing"', hint="file list")
        return self.files / name


class Sides:
    """Makes nodes of one cluster (`authority`), of others, and of none."""

    def __init__(self, directory: Path, supervisor: Supervisor, *, open_mesh: bool) -> None:
        self._directory = directory
        self._supervisor = supervisor
        self._open = open_mesh
        self.stack = AsyncExitStack()
        self.authority = self.cluster("authority")

    def cluster(self, name: str) -> Authority:
        """A new cluster."""
        return found_cluster(CredentialStore(self._directory / name, name), "", ())

    def side(self, name: str, *, authority: Authority | None = None, role: Role = Role.FULL, space: str = "") -> Side:
        """A node with a certificate of a cluster, or of an open mesh."""
        if self._open:
            return self._made(name, None, None)
        credentials = (authority or self.authority).credentials(name, role, space)
        return self.side_with(name, credentials)

    def side_with(self, name: str, credentials: Credentials) -> Side:
        """A node with these credentials."""
        store = CredentialStore(self._directory / f"store-{next(_ports)}", name)
        store.save(credentials)
        return self._made(name, Secured(credentials, store), store)

    def _made(self, name: str, secured: Secured | None, store: CredentialStore | None) -> Side:
        files = self._directory / f"files-{next(_ports)}"
        files.mkdir()
        side = Side(name, Channel(name, secured, self._supervisor), files, store)
        self.stack.push_async_callback(side.channel.close)
        return side


@asynccontextmanager
async def sides(directory: Path, *, open_mesh: bool = False) -> AsyncIterator[Sides]:
    """Nodes, closed at the end."""
    async with Supervisor("test") as supervisor:
        found = Sides(directory, supervisor, open_mesh=open_mesh)
        async with found.stack:
            yield found
        assert supervisor.running == ()


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other end closes or breaks off."""
    got = b""
    try:
        async with asyncio.timeout(20):
            while part := await reader.read(1 << 16):
                got += part
    except OSError as error:  # a TLS alert, or a broken connection
        assert not isinstance(error, TimeoutError), "the other end did not close"
    return got
