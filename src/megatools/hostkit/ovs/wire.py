"""The conversation with an OVSDB server: JSON-RPC over a Unix socket (RFC 7047, chapter 4).

For `hostkit.ovs.database` only. Messages are not separated by newlines: `Framer` cuts the stream at the
closing bracket of each. One event loop owns a connection; no threads, no tasks. Measured against the `ovs`
library (100 ports in one transaction): see docs/decisions.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from megatools.hostkit.errors import InvalidInput, ProtocolError, Unavailable

_log = logging.getLogger(__name__)
_MARK = re.compile(rb'[{}\[\]"]')
_STRING_MARK = re.compile(rb'["\\]')
_LIMIT = 64 * 1024 * 1024
_UNIX_PATH_MAX = 107

T = TypeVar("T")


_NULL = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    id: int | str | None = None
    method: str | None = None
    params: msgspec.Raw = _NULL
    result: msgspec.Raw = _NULL
    error: object = None


class Framer:
    """Cuts a byte stream into JSON values; raises ProtocolError on what cannot be one."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0  # everything before was looked at
        self._depth = 0
        self._quoted = False

    def feed(self, data: bytes) -> list[bytes]:
        """The values completed by these bytes, in order."""
        self._buffer += data
        done: list[bytes] = []
        while (end := self._scan()) is not None:
            done.append(bytes(self._buffer[:end]).strip())
            del self._buffer[:end]
            self._at = 0
        if len(self._buffer) > self._limit:
            raise ProtocolError(f"a message of more than {self._limit} bytes")
        return done

    def _scan(self) -> int | None:
        """Where the value at the start of the buffer ends; None when it is not complete."""
        while True:
            found = (_STRING_MARK if self._quoted else _MARK).search(self._buffer, self._at)
            if found is None:
                self._at = len(self._buffer)
                return None
            mark = found.group()
            if mark == b"\\":
                if found.end() == len(self._buffer):
                    self._at = found.start()  # look again when the escaped character is here
                    return None
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if mark == b'"':
                self._quoted = not self._quoted
            elif mark in b"{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth < 0:
                    raise ProtocolError("a closing bracket without an opening one")
                if self._depth == 0:
                    return self._at


class Connection(asyncio.Protocol):
    """One connection; calls may overlap and are answered by id."""

    def __init__(self, on_update: Callable[[bytes], None]) -> None:
        self._on_update = on_update
        self._framer = Framer()
        self._waiting: dict[int, asyncio.Future[_Message]] = {}
        self._next_id = 0
        self._transport: asyncio.WriteTransport | None = None
        self._why = "the connection is closed"

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._transport is not None

    async def call(self, method: str, params: object, kind: type[T], *, timeout_s: float) -> T:
        """Call a method and decode its result.

        Raises Unavailable (server gone or too slow) and ProtocolError (refused, or an unreadable answer).
        """
        if self._transport is None:
            raise Unavailable("the Open vSwitch database does not answer", hint=self._why)
        self._next_id += 1
        number = self._next_id
        answer: asyncio.Future[_Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._transport.write(msgspec.json.encode({"method": method, "params": params, "id": number}))
            async with asyncio.timeout(timeout_s):
                message = await answer
        except TimeoutError as error:
            raise Unavailable(f"the Open vSwitch database did not answer within {timeout_s:g} s") from error
        finally:
            self._waiting.pop(number, None)
        if message.error is not None:
            raise ProtocolError(f'the Open vSwitch database refused "{method}": {message.error}')
        try:
            return msgspec.json.decode(message.result, type=kind)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f'unreadable answer of the Open vSwitch database to "{method}"') from error

    def close(self) -> None:
        """Close the connection; waiting calls fail with Unavailable."""
        if self._transport is not None:
            self._transport.close()
        self._end("closed by us")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for raw in self._framer.feed(data):
                self._take(msgspec.json.decode(raw, type=_Message))
        except (msgspec.MsgspecError, ProtocolError) as error:
            _log.error("garbage from the Open vSwitch database: %s", error)
            if self._transport is not None:
                self._transport.abort()
            self._end("it sent garbage")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._end(f"the connection was lost: {exc or 'closed by the server'}")

    def _take(self, message: _Message) -> None:
        if message.method == "echo" and self._transport is not None:
            reply = {"id": message.id, "result": message.params, "error": None}
            self._transport.write(msgspec.json.encode(reply))
        elif message.method == "update":
            self._on_update(bytes(message.params))
        elif isinstance(message.id, int) and (waiting := self._waiting.pop(message.id, None)) is not None:
            if not waiting.done():
                waiting.set_result(message)

    def _end(self, why: str) -> None:
        self._transport = None
        self._why = why
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Unavailable("the Open vSwitch database went away", hint=why))
        self._waiting.clear()


async def connect(socket: Path, on_update: Callable[[bytes], None], *, timeout_s: float) -> Connection:
    """Connect to a server's socket; raises Unavailable when nobody listens, InvalidInput when its path is too long."""
    if len(str(socket).encode()) > _UNIX_PATH_MAX:
        raise InvalidInput(f'socket path "{socket}" is longer than {_UNIX_PATH_MAX} bytes', hint="use a shorter base")
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, connection = await loop.create_unix_connection(lambda: Connection(on_update), str(socket))
    except (OSError, TimeoutError) as error:
        raise Unavailable(f'no Open vSwitch database answers at "{socket}"') from error
    return connection
