"""What the daemon and its engine process say to each other, over a socket pair: length-prefixed msgpack.

Spoken by `mesh.engine` (the process) and `mesh.engine_process` (the daemon's end)::

    daemon -> engine   Open, Join, Ask, Forget, Answer, Dial, Cut, Probe, Deny
    engine -> daemon   Opened, Token, LinkSeen, Asked, Replied, Finished, Sent, Outcome

A frame is a 4-byte big-endian length and that many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from megatools.hostkit.errors import ProtocolError

MAX_FRAME = 1 << 28
ANOTHER_MESH = "is in another mesh"
"""The end of the error of a `Dial` to an endpoint with another context."""

_LENGTH = 4


class _Frame(msgspec.Struct, array_like=True, frozen=True):
    """An array: the tag, then the fields."""


class Open(_Frame, frozen=True, tag=1):
    """The first frame: the engine's configuration (JSON), what all keys begin with, our name, our side channel.

    `denied`: as in `Deny`.
    """

    config: str
    prefix: str
    name: str
    address: str
    denied: tuple[str, ...] = ()


class Join(_Frame, frozen=True, tag=8):
    """Be a member from now on: take requests, and let the others know."""


class Ask(_Frame, frozen=True, tag=2):
    """Send a request to nodes by name, or with none named to all others; answered by `Replied` and `Finished`."""

    call: int
    nodes: tuple[str, ...]
    payload: bytes
    timeout_s: float


class Forget(_Frame, frozen=True, tag=3):
    """Nobody waits for the rest of a call."""

    call: int


class Answer(_Frame, frozen=True, tag=4):
    """A part of the answer to a query, in order with others of its `lane`; with `mark` it is confirmed by `Sent`."""

    query: int
    lane: str
    payload: bytes
    last: bool = False
    mark: bool = False


class Dial(_Frame, frozen=True, tag=5):
    """Make the meshes here and at an endpoint (`tcp/10.0.0.1:9000`) one, if it has our context; answered by `Outcome`.

    `look` is the configuration of a session with the endpoint alone, `join` of one that is between it and us.
    """

    ticket: int
    endpoint: str
    look: str
    join: str


class Cut(_Frame, frozen=True, tag=6):
    """Shut the connections to an engine down; answered by `Outcome`."""

    ticket: int
    id: str


class Probe(_Frame, frozen=True, tag=7):
    """See whether a node's engine, or our own, answers; answered by `Outcome`."""

    ticket: int
    node: str
    timeout_s: float


class Deny(_Frame, frozen=True, tag=9):
    """Drop the connections to engines with these common names, now and whenever they come."""

    names: tuple[str, ...]


class Opened(_Frame, frozen=True, tag=32):
    """The engine is up, under this random id."""

    id: str


class Token(_Frame, frozen=True, tag=33):
    """A node's sign of life came or went."""

    name: str
    id: str
    address: str
    alive: bool


class LinkSeen(_Frame, frozen=True, tag=34):
    """A connection to another engine came or went; `certificate` is the common name the other end proved, if any."""

    id: str
    near: str
    far: str
    certificate: str
    up: bool


class Asked(_Frame, frozen=True, tag=35):
    """A request from another node."""

    query: int
    payload: bytes


class Replied(_Frame, frozen=True, tag=36):
    """A reply to a call, and the engine it came from."""

    call: int
    id: str
    payload: bytes


class Finished(_Frame, frozen=True, tag=37):
    """Nothing more comes from a node of a call (empty: from none of them)."""

    call: int
    node: str


class Sent(_Frame, frozen=True, tag=38):
    """An `Answer` with a mark left the engine."""

    query: int


class Outcome(_Frame, frozen=True, tag=39):
    """How a `Dial`, `Cut` or `Probe` went; no error is success. `id`: the engine that was dialled."""

    ticket: int
    error: str = ""
    id: str = ""


ToEngine: TypeAlias = Open | Join | Ask | Forget | Answer | Dial | Cut | Probe | Deny
FromEngine: TypeAlias = Opened | Token | LinkSeen | Asked | Replied | Finished | Sent | Outcome

_encoder = msgspec.msgpack.Encoder()
_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)


def encode(frame: ToEngine | FromEngine) -> bytes:
    """A frame with its length in front."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH, "big") + body


def to_engine(body: bytes) -> ToEngine:
    """What the daemon said. Raises ProtocolError."""
    try:
        return _to_engine.decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError("unreadable frame from the daemon") from error


def from_engine(body: bytes) -> FromEngine:
    """What the engine said. Raises ProtocolError."""
    try:
        return _from_engine.decode(body)
    except msgspec.MsgspecError as error:
        raise ProtocolError("unreadable frame from the mesh engine") from error


class Cutter:
    """Cuts a byte stream into the bodies of frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes in; yields each body that is complete. Raises ProtocolError for a length out of range."""
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= _LENGTH:
            length = int.from_bytes(buffer[at : at + _LENGTH], "big")
            if length > MAX_FRAME:
                raise ProtocolError(f"a frame of {length} bytes is over the limit of {MAX_FRAME}")
            if len(buffer) - at - _LENGTH < length:
                break
            yield bytes(buffer[at + _LENGTH : at + _LENGTH + length])
            at += _LENGTH + length
        if at:
            del buffer[:at]
