"""What a mesh is: the narrow interface between the cluster and the engine that carries its messages.

`cluster`, `files` and `app` call this; two twins implement it: `mesh.memory` (unit tests, simulation) and the Zenoh
peer clique. Calls, streams and pulls go straight to the node named, which must be a member (no relaying)::

    call    small messages to one, some or all nodes; each target ends exactly once (done, error, lost, timed out)
    open    a byte stream in both directions (consoles), beside the engine
    pull    bulk bytes of something a node shares, into a file descriptor, beside the engine

Node names are host names and unique in a mesh. Who calls is proven (certificates) or, in an open mesh, claimed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec


class Role(StrEnum):
    """What a node may ask of others."""

    FULL = "full"
    READ_ONLY = "read-only"


class Caller(msgspec.Struct, frozen=True):
    """Who asks: a node's name, what it may ask, and the one namespace it is limited to (empty: any).

    `certificate` is the common name of the certificate it proved that with, another one each time a node is enrolled.
    """

    name: str
    role: Role = Role.FULL
    namespace: str = ""
    certificate: str = ""


class Member(msgspec.Struct, frozen=True):
    """Another node that can be reached now.

    `id` is new with every start of its engine; `address` is `host:port` of its side channel for streams and pulls;
    `doubled` says that several nodes claim this name, so that none of them can be called. `certificate` is the common
    name its connection proved, where members have to prove one.
    """

    name: str
    id: str
    address: str = ""
    doubled: bool = False
    certificate: str = ""


class Ending(StrEnum):
    """How a call ended at one target; every target ends in exactly one of these."""

    DONE = "done"
    ERROR = "error"
    LOST = "lost"
    TIMED_OUT = "timed out"


class Arrival(msgspec.Struct, frozen=True):
    """Something that came back from one target: a part of its answer (`ending` is None), or its end.

    An end with an error carries the message (and hint, and the name of the error's kind) of what was raised there.
    """

    host: str
    payload: bytes = b""
    ending: Ending | None = None
    error: str = ""
    hint: str = ""
    kind: str = ""


class Link(msgspec.Struct, frozen=True):
    """A connection between two nodes, as one end sees it."""

    node: str
    peer: str
    address: str = ""


class MemberEvent(msgspec.Struct, frozen=True):
    """A node came or went."""

    member: Member
    joined: bool


class MeshStatus(msgspec.Struct, frozen=True):
    """The state of this node's mesh: `security` is `off`, `open` or `tls`; `mode` is `none`, `clique` or `hub`."""

    security: str
    mode: str
    context: str
    port: int
    detail: str = ""


@dataclass(frozen=True)
class Stream:
    """A connection to a service of another node; close the writer to end it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


# What serves calls: the caller and the request in, parts of the answer out; a MegaError raised is the caller's ERROR.
Handler: TypeAlias = Callable[[Caller, bytes], AsyncGenerator[bytes, None]]
# What serves streams: ends when it is done with the stream; a MegaError closes it, with the error told or logged.
Acceptor: TypeAlias = Callable[[Caller, bytes, Stream], Awaitable[None]]
# What finds a shared thing by name: the file its bytes are in. Raises NotFound or PermissionDenied.
Opener: TypeAlias = Callable[[Caller, str], Path]


class Mesh(Protocol):
    """One node's end of the mesh."""

    @property
    def name(self) -> str:
        """This node's name."""
        ...

    def members(self) -> Sequence[Member]:
        """The other nodes that can be reached now, by name; this node is not among them."""
        ...

    def status(self) -> MeshStatus:
        """The state of this node's mesh."""
        ...

    def events(self) -> AsyncIterator[MemberEvent]:
        """Comings and goings from now on."""
        ...

    def call(self, targets: Sequence[str], service: str, request: bytes, *, timeout_s: float) -> AsyncIterator[Arrival]:
        """Ask nodes; this node may be among them. Parts and ends as they arrive, one end per target, whatever happens.

        A target that is no member ends LOST at once; one that says nothing more ends TIMED_OUT after `timeout_s` in
        all. Closing the iterator early cancels what still runs at the targets.
        """
        ...

    def serve(self, service: str, handler: Handler) -> None:
        """Answer calls of a service from now on."""
        ...

    async def open(self, target: str, service: str, request: bytes) -> Stream:
        """A byte stream to a service of another node. Raises NotFound, PermissionDenied, Unavailable."""
        ...

    def accept(self, service: str, acceptor: Acceptor) -> None:
        """Take streams of a service from now on."""
        ...

    async def pull(self, target: str, name: str, offset: int, length: int, into: int) -> int:
        """Copy bytes of something a node shares to the same offset of an open file descriptor; returns how many.

        Fewer than `length` means that it ends there. Raises NotFound, PermissionDenied, Unavailable (node lost).
        """
        ...

    def share(self, opener: Opener) -> None:
        """Say what peers may pull, from now on."""
        ...

    async def dial(self, address: str) -> None:
        """Connect to the mesh a node at `host[:port]` belongs to, and keep it in mind. Raises Unavailable."""
        ...

    async def hangup(self, name: str) -> None:
        """Drop the connection to a node, and keep away from it until it is dialled. Raises NotFound."""
        ...

    async def links(self) -> Sequence[Link]:
        """The connections of this node."""
        ...

    async def close(self) -> None:
        """Leave the mesh; calls that run end LOST."""
        ...
