"""The channel beside the engine, for streams and bulk bytes: what `mesh.clique` needs of it."""

from __future__ import annotations

from typing import Protocol

from megatools.hostkit.errors import Unavailable
from megatools.minimega.mesh.mesh import Acceptor, Member, Opener, Stream


class SideChannel(Protocol):
    """Streams to and pulls from members, at their `address`."""

    async def open(self, member: Member, service: str, request: bytes) -> Stream:
        """A byte stream to a service of a member. Raises NotFound, PermissionDenied, Unavailable."""
        ...

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Take streams of a service."""
        ...

    async def pull(self, member: Member, name: str, offset: int, length: int, into: int) -> int:
        """Copy bytes of something a member shares. Raises NotFound, PermissionDenied, Unavailable."""
        ...

    def share(self, opener: Opener) -> None:
        """Say what members may pull."""
        ...


class NoChannel:
    """A node without a listener for streams: it takes and opens none."""

    async def open(self, member: Member, service: str, request: bytes) -> Stream:
        """Raises Unavailable."""
        raise Unavailable(f'no stream to "{member.name}": this node has no side channel')

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Nobody can open one."""

    async def pull(self, member: Member, name: str, offset: int, length: int, into: int) -> int:
        """Raises Unavailable."""
        raise Unavailable(f'nothing can be pulled from "{member.name}": this node has no side channel')

    def share(self, opener: Opener) -> None:
        """Nobody can pull it."""
