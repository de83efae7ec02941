"""The channel beside the engine, for streams and bulk bytes: what `mesh.clique` needs of it."""

from __future__ import annotations

from typing import Protocol

from megatools.hostkit.errors import Unavailable
from megatools.minimega.mesh.mesh import Acceptor, Member, Opener, Stream


class SideChannel(Protocol):
    """Streams to and pulls from members, at their `address`."""

    def listen(self, host: str, port: int) -> None:
        """Listen at an address from now on, and no longer where it did. Raises Unavailable."""
        ...

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

    def check(self) -> None:
        """End the connections of nodes whose certificates count no more."""
        ...

    def lost(self, member: Member) -> None:
        """End the connections to a member that is gone."""
        ...

    async def close(self) -> None:
        """End everything."""
        ...


class NoChannel:
    """A node without a listener for streams: it takes and opens none."""

    def listen(self, host: str, port: int) -> None:
        """Nothing listens."""

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

    def check(self) -> None:
        """There is no connection."""

    def lost(self, member: Member) -> None:
        """There is no connection."""

    async def close(self) -> None:
        """There is nothing to end."""


class Beside:
    """The channel there is now; what it serves stays when it is replaced."""

    def __init__(self) -> None:
        self._channel: SideChannel = NoChannel()
        self._acceptors: dict[str, Acceptor] = {}
        self._opener: Opener | None = None

    @property
    def channel(self) -> SideChannel:
        """The one to open streams with."""
        return self._channel

    def check(self) -> None:
        """End the connections of nodes whose certificates count no more."""
        self._channel.check()

    async def replace(self, channel: SideChannel) -> None:
        """Use another channel from now on, and close the one before."""
        before, self._channel = self._channel, channel
        for service, acceptor in self._acceptors.items():
            channel.accept(service, acceptor)
        if self._opener is not None:
            channel.share(self._opener)
        await before.close()

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Take streams of a service."""
        self._acceptors[service] = acceptor
        self._channel.accept(service, acceptor)

    def share(self, opener: Opener) -> None:
        """Say what members may pull."""
        self._opener = opener
        self._channel.share(opener)
