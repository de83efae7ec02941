"""The side channel: byte streams and bulk bytes between two nodes, beside the mesh engine, on a port of its own.

`mesh.clique` uses it for `open`, `accept`, `pull` and `share`. With certificates every connection is mutual TLS and the
peer is who its certificate says; in an open mesh connections are plain and the peer is who it says. A connection is
one stream, or pulls one after another::

    connect -> TLS: certificates, not revoked -> Ask ->  Answer, then bytes of the file -> Ask ... | close
                                                 Ask ->  Answer, then a stream in both directions -> close

The loop does everything but moving bulk bytes: that few threads do (`bulk`), some for sending and others for receiving,
so that two nodes that pull from each other do not wait for each other.
"""

from __future__ import annotations

from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.asking import Asking
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.mesh import Acceptor, Member, Opener, Stream
from megatools.minimega.mesh.serving import Serving
from megatools.minimega.mesh.tls import Secured


class Channel:
    """Both ends of the side channel of one node; without `secured` it is an open one."""

    def __init__(self, name: str, secured: Secured | None, supervisor: Supervisor, gate: Gate | None = None) -> None:
        self._serving = Serving(secured, supervisor, gate or Gate())
        self._asking = Asking(name, secured, supervisor)

    def listen(self, host: str, port: int) -> None:
        """Listen at an address from now on, and no longer where it did. Raises Unavailable."""
        self._serving.listen(host, port)

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Take streams of a service.

        An acceptor refuses a stream by raising a MegaError before it writes anything, within a quarter of a second.
        """
        self._serving.acceptors[service] = acceptor

    def share(self, opener: Opener) -> None:
        """Say what other nodes may pull."""
        self._serving.opener = opener

    async def open(self, member: Member, service: str, request: bytes) -> Stream:
        """A byte stream to a service of another node. Raises NotFound, PermissionDenied, Unavailable."""
        return await self._asking.open(member, service, request)

    async def pull(self, member: Member, name: str, offset: int, length: int, into: int) -> int:
        """Copy bytes of something another node shares. Raises NotFound, PermissionDenied, Unavailable."""
        return await self._asking.pull(member, name, offset, length, into)

    def check(self) -> None:
        """End the connections of nodes whose certificates count no more."""
        self._serving.check()
        self._asking.check()

    def lost(self, member: Member) -> None:
        """End the connections to a node that is gone."""
        self._asking.lost(member)

    async def close(self) -> None:
        """End everything."""
        await self._asking.close()
        await self._serving.close()
