"""Answers on their way between hosts, as JSON: what they hold for programs is JSON already, and goes as it is.

Encoding is msgspec's of the records themselves. Decoding needs records of its own, because msgspec cannot decode what
may be `Raw` or None. Used by `fanout` and `sending`.
"""

from __future__ import annotations

import msgspec

from megatools.minimega.lang.answer import Answer, Group, Response, Table
from megatools.minimega.lang.operation import HostResult, Outcome

_NULL = msgspec.Raw(b"null")


class _Answer(msgspec.Struct, frozen=True):
    text: str = ""
    table: Table | None = None
    data: msgspec.Raw = _NULL
    missing: tuple[str, ...] = ()


class _Result(msgspec.Struct, frozen=True):
    host: str
    outcome: Outcome
    answer: _Answer | None = None
    error: str = ""
    hint: str = ""
    kind: str = ""
    missing: tuple[str, ...] = ()


class _Response(msgspec.Struct, frozen=True, rename="pascal"):
    host: str
    response: str = ""
    header: list[str] | None = None
    tabular: list[list[str]] | None = None
    error: str = ""
    data: msgspec.Raw = _NULL


class Part(msgspec.Struct, frozen=True):
    """Something another host says of a command: a group of responses, or how far it is."""

    group: Group | None = None
    progress: str = ""


class _Part(msgspec.Struct, frozen=True):
    group: list[_Response] | None = None
    progress: str = ""


_results = msgspec.json.Decoder(_Result)
_decoder = msgspec.json.Decoder(_Part)


def encode(message: HostResult | Part) -> bytes:
    """A message as JSON."""
    return msgspec.json.encode(message)


def decode_result(payload: bytes, host: str) -> HostResult:
    """A host's result. Raises msgspec.MsgspecError."""
    found = _results.decode(payload)
    answer = None
    if found.answer is not None:
        own = found.answer
        answer = Answer(own.text, own.table, _data(own.data), own.missing)
    return HostResult(host, found.outcome, answer, found.error, found.hint, found.kind, found.missing)


def decode_part(payload: bytes, host: str) -> Part:
    """A part of what a host says; every response is that host's, whatever it calls itself. Raises MsgspecError."""
    found = _decoder.decode(payload)
    if found.group is None:
        return Part(None, found.progress)
    return Part(
        [Response(host, one.response, one.header, one.tabular, one.error, _data(one.data)) for one in found.group],
        found.progress,
    )


def _data(raw: msgspec.Raw) -> msgspec.Raw | None:
    """A copy, or the whole message would stay in memory with it."""
    return None if bytes(raw) == b"null" else raw.copy()
