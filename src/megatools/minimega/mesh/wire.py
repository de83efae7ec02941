"""What nodes say to each other through the engine: signed requests, and replies in numbered batches (msgpack).

Used by `mesh.calls` (the asking end) and `mesh.answering` (the other one). A request names the engines it is meant
for: one that reaches any other is dropped there, and so is one that was seen before (`Window`).
"""

from __future__ import annotations

import msgspec

from megatools.hostkit.errors import ProtocolError

STOP = "mesh.stop"
"""The service that ends a request that runs; its payload is the serial of the request."""

HANGUP = "mesh.hangup"
"""The service that tells a node that we hung up on it (payload `1`) or want it back (`0`)."""


class Request(msgspec.Struct, array_like=True, frozen=True):
    """A question; `run` and `serial` are never used twice, `to` are the engines meant, by their ids (`short`)."""

    run: bytes
    serial: int
    caller: str
    to: tuple[bytes, ...]
    service: str
    timeout_s: float
    payload: bytes


class Signed(msgspec.Struct, array_like=True, frozen=True):
    """An encoded request and the proof of who asks."""

    request: bytes
    proof: bytes


class End(msgspec.Struct, array_like=True, frozen=True):
    """The end of an answer: what was raised there, if anything was."""

    failed: bool = False
    error: str = ""
    hint: str = ""
    kind: str = ""


class Reply(msgspec.Struct, array_like=True, frozen=True):
    """Some parts of an answer; `number` counts the replies to one request from 0."""

    number: int
    parts: tuple[bytes, ...]
    end: End | None = None


encode = msgspec.msgpack.Encoder().encode
_request = msgspec.msgpack.Decoder(Request)
_signed = msgspec.msgpack.Decoder(Signed)
_reply = msgspec.msgpack.Decoder(Reply)


def short(identity: str) -> bytes:
    """The id of an engine, hexadecimal, as half as many bytes."""
    return bytes.fromhex(identity.rjust(len(identity) + len(identity) % 2, "0"))


def read_signed(data: bytes) -> Signed:
    """Raises ProtocolError."""
    try:
        return _signed.decode(data)
    except msgspec.MsgspecError as error:
        raise ProtocolError("unreadable request from another node") from error


def read_request(data: bytes) -> Request:
    """Raises ProtocolError."""
    try:
        return _request.decode(data)
    except msgspec.MsgspecError as error:
        raise ProtocolError("unreadable request from another node") from error


def read_reply(data: bytes) -> Reply:
    """Raises ProtocolError."""
    try:
        return _reply.decode(data)
    except msgspec.MsgspecError as error:
        raise ProtocolError("unreadable reply from another node") from error


class Window:
    """The serials seen from one run of a node: each is taken once, those far behind the newest never."""

    WIDTH = 4096

    def __init__(self) -> None:
        self._newest = -1
        self._seen = 0  # bit n: serial `_newest - n`

    def take(self, serial: int) -> bool:
        """Whether this serial is new; it is not from now on."""
        ahead = serial - self._newest
        if ahead > 0:
            self._seen = ((self._seen << ahead) | 1) & ((1 << self.WIDTH) - 1) if ahead < self.WIDTH else 1
            self._newest = serial
            return True
        behind = -ahead
        if behind >= self.WIDTH or self._seen >> behind & 1:
            return False
        self._seen |= 1 << behind
        return True
