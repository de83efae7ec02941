"""What a new node and the authority's node say to each other, and how: messages in msgpack, each after its length.

Used by `enrolment` (the authority's end) and `joining` (the new node's)::

    new node                                        authority's node
       <-- Hello: the authority's certificate
                                                    the new node: is it the token's, and did it issue what TLS showed?
       Application: name, request, proof -->
                                                    the other: is the proof right, the token unused, the name free?
       <-- Admission: the certificate, or why not
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec

from megatools.hostkit.errors import ProtocolError
from megatools.minimega.mesh.credentials import Revocation
from megatools.minimega.mesh.exchange import Answer

ENROLMENT_PORT = 3
"""The enrolment port is this much above the mesh's."""

ANSWER_S = 15.0
_MAX_MESSAGE = 1 << 20
T = TypeVar("T")


class Hello(msgspec.Struct, frozen=True):
    """The authority's certificate (DER)."""

    authority: bytes


class Application(msgspec.Struct, frozen=True):
    """Who wants to join: see `issuing.Joining`."""

    invitation: str
    name: str
    addresses: tuple[str, ...]
    request: bytes
    proof: bytes


class Admission(msgspec.Struct, frozen=True):
    """The node's certificate (DER) and the certificates that count no more; or a refusal."""

    certificate: bytes = b""
    revoked: tuple[Revocation, ...] = ()
    refused: Answer | None = None


async def say(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    """Send a message."""
    data = msgspec.msgpack.encode(message)
    writer.write(len(data).to_bytes(4, "big") + data)
    await writer.drain()


async def hear(reader: asyncio.StreamReader, kind: type[T]) -> T:
    """The next message. Raises ProtocolError, TimeoutError, and EOFError when there is none."""
    async with asyncio.timeout(ANSWER_S):
        length = int.from_bytes(await reader.readexactly(4), "big")
        if length > _MAX_MESSAGE:
            raise ProtocolError(f'a message of "{length}" bytes is longer than {_MAX_MESSAGE}')
        data = await reader.readexactly(length)
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ProtocolError("unreadable message while joining a cluster") from error
