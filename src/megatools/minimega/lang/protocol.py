"""The command socket's words: requests and replies as JSON values, one after another (spec B.9, A.1).

Used by `lang/server.py`; pure. A request is an object with exactly one of `Command`, `Suggest` and `PlumbPipe`; the
form of 2013, `{"Command", "Args", "TID"}`, is known by its `Args` and answered in its own form. A value ends where its
braces close, so a client need not send newlines; what we send is one value a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from megatools.hostkit.errors import InvalidInput, ProtocolError
from megatools.minimega.lang.answer import Group

MAX_REQUEST_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 8
_SPACE = b" \t\r\n"
_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING_END = re.compile(rb'["\\\n]')
_FIRST_KEY = re.compile(rb'\{[ \t\r\n]*(?:$|["}])')


class Ask(msgspec.Struct, frozen=True):
    """A request: run a command line, or suggest how an unfinished one may go on; the other is None."""

    command: str | None = None
    suggest: str | None = None


class ClassicAsk(msgspec.Struct, frozen=True):
    """A request in the form of 2013: the command's first word, the other words, and a number that comes back."""

    command: str
    args: tuple[str, ...]
    tid: int


class Reply(msgspec.Struct, frozen=True, rename="pascal"):
    """A reply: the group and its rendering; `more` when others follow, `status` for progress text in between."""

    resp: Group | None = None
    rendered: str = ""
    more: bool = False
    status: bool = False
    suggest: list[str] | msgspec.UnsetType = msgspec.UNSET


class ClassicReply(msgspec.Struct, frozen=True):
    """A reply in the form of 2013."""

    response: str = msgspec.field(default="", name="Response")
    error: str = msgspec.field(default="", name="Error")
    more: bool = msgspec.field(default=False, name="More")
    tid: int = msgspec.field(default=0, name="TID")


Question: TypeAlias = Ask | ClassicAsk


class _Wire(msgspec.Struct, frozen=True):
    command: str | None = msgspec.field(default=None, name="Command")
    suggest: str | None = msgspec.field(default=None, name="Suggest")
    plumb_pipe: str | None = msgspec.field(default=None, name="PlumbPipe")
    args: list[str] | msgspec.UnsetType | None = msgspec.field(default=msgspec.UNSET, name="Args")
    tid: int = msgspec.field(default=0, name="TID")


_decoder = msgspec.json.Decoder(_Wire)
_encoder = msgspec.json.Encoder()


def decode(value: bytes) -> Question:
    """A request from its JSON; raises InvalidInput when it is none, or asks for nothing or for two things.

    An empty text counts as absent, but `{"Suggest": ""}` alone asks how a line may begin.
    """
    try:
        wire = _decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("invalid request", hint='send JSON such as {"Command": "vm info"}') from error
    if wire.args is not msgspec.UNSET:
        return ClassicAsk(wire.command or "", tuple(wire.args or ()), wire.tid)
    if wire.plumb_pipe and not wire.command and not wire.suggest:
        raise InvalidInput('not available yet: "PlumbPipe"')
    if wire.plumb_pipe or (wire.command and wire.suggest):
        raise InvalidInput("must specify either command or suggest")
    if wire.suggest or (wire.suggest is not None and wire.command is None):
        return Ask(suggest=wire.suggest)
    if not wire.command:
        raise InvalidInput("must specify either command or suggest")
    return Ask(command=wire.command)


def encode(reply: Reply | ClassicReply) -> bytes:
    """A reply as one line of JSON."""
    return _encoder.encode(reply) + b"\n"


class Framer:
    """Cuts a stream of bytes into JSON objects, each at most `limit` bytes long.

    Garbage is reported once and skipped up to the next newline. A value that is too long cannot be skipped: after it
    `lost` is true and nothing more comes out.
    """

    def __init__(self, limit: int = MAX_REQUEST_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._skipping = False
        self.lost = False

    @property
    def pending(self) -> bool:
        """Whether an unfinished value has been begun."""
        return bool(self._buffer) and not self._skipping

    def feed(self, data: bytes) -> Iterator[bytes | ProtocolError]:
        """Take more of the stream; yields whole objects, and an error for each stretch of garbage."""
        if self.lost:
            return
        self._buffer += data
        while self._buffer:
            if self._skipping and not self._skip_line():
                return
            if not self._at_value():
                if self._buffer:
                    yield self._garbage()
                continue
            end = self._end_of_value()
            if end is None:
                yield self._garbage()
            elif end:
                value = self._take(end)
                yield value if len(value) <= self._limit else self._too_long()
            else:
                break
        if len(self._buffer) > self._limit:
            self.lost = True
            self._buffer.clear()
            yield self._too_long()

    def _too_long(self) -> ProtocolError:
        return ProtocolError(f"request longer than {self._limit} bytes", hint="send it in smaller parts")

    def _at_value(self) -> bool:
        if self._scanned == 0:
            stripped = self._buffer.lstrip(_SPACE)
            if len(stripped) != len(self._buffer):
                self._buffer = stripped
        return bool(self._buffer) and bool(_FIRST_KEY.match(self._buffer))

    def _garbage(self) -> ProtocolError:
        self._reset()
        self._skipping = True
        return ProtocolError("invalid request: not a JSON object", hint='send JSON such as {"Command": "vm info"}')

    def _skip_line(self) -> bool:
        end = self._buffer.find(b"\n")
        if end < 0:
            self._buffer.clear()
            return False
        del self._buffer[: end + 1]
        self._skipping = False
        return bool(self._buffer)

    def _take(self, end: int) -> bytes:
        value = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._reset()
        return value

    def _reset(self) -> None:
        self._scanned = 0
        self._depth = 0
        self._in_string = False

    def _end_of_value(self) -> int | None:
        """Where the object ends, 0 when it has not ended yet, None when this cannot become JSON."""
        while True:
            if self._in_string:
                found = _STRING_END.search(self._buffer, self._scanned)
                if found is None:
                    self._scanned = len(self._buffer)
                    return 0
                if not self._string_mark(found):
                    return None if found[0] == b"\n" else 0
                continue
            found = _STRUCTURE.search(self._buffer, self._scanned)
            if found is None:
                self._scanned = len(self._buffer)
                return 0
            self._scanned = found.end()
            self._structure_mark(found[0])
            if self._depth == 0:
                return self._scanned
            if self._depth > MAX_DEPTH:
                return None

    def _structure_mark(self, mark: bytes) -> None:
        if mark == b'"':
            self._in_string = True
        else:
            self._depth += 1 if mark in (b"{", b"[") else -1

    def _string_mark(self, found: re.Match[bytes]) -> bool:
        """Move past a mark inside a string; False when it is a newline, or a backslash whose letter is missing."""
        if found[0] == b'"':
            self._in_string = False
            self._scanned = found.end()
        elif found[0] == b"\\" and found.end() < len(self._buffer):
            self._scanned = found.end() + 1
        else:
            self._scanned = found.start()
            return False
        return True
