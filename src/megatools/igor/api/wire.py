"""Requests and answers as lines of JSON, for the socket and for HTTPS; pure.

A request is `{"op": "submit", ...}`; an answer `{"answer": {...}}`, or `{"error": KIND, "message": ..., "hint": ...}`
with the name of a kind of hostkit.errors. Encoded records hold no line breaks, so a line is a message.
"""

from __future__ import annotations

import msgspec

from megatools.hostkit import errors
from megatools.hostkit.errors import InvalidInput, MegaError, ProtocolError, chain_text, hint_of
from megatools.igor.api.requests import ANSWERS, Answer, AnyRequest, Done

MAX_REQUEST_BYTES = 8 << 20
MAX_FILES = 2

KINDS: dict[str, type[MegaError]] = {
    kind.__name__: kind
    for kind in (
        errors.InvalidInput,
        errors.NotFound,
        errors.AlreadyExists,
        errors.InvalidState,
        errors.PermissionDenied,
        errors.Unavailable,
        errors.CommandFailed,
        errors.ProtocolError,
        errors.Corrupt,
    )
}


class Reply(msgspec.Struct, frozen=True, omit_defaults=True):
    """What comes back: an answer still encoded, or an error."""

    answer: msgspec.Raw = msgspec.Raw(b"")
    error: str = ""
    message: str = ""
    hint: str = ""


_requests: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)


def request_of(line: bytes) -> AnyRequest:
    """A line as a request; raises InvalidInput."""
    try:
        return _requests.decode(line)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"this is not a request igor knows: {error}") from error


def answer_line(answer: Answer) -> bytes:
    """An answer as a line."""
    return b'{"answer":' + msgspec.json.encode(answer) + b"}\n"


def error_line(error: BaseException) -> bytes:
    """An error as a line: the nearest kind's name, the chain of messages, the hint."""
    kind = next((name for name, known in KINDS.items() if isinstance(error, known)), "Unavailable")
    return msgspec.json.encode(Reply(error=kind, message=chain_text(error), hint=hint_of(error))) + b"\n"


def answer_of(line: bytes, request: AnyRequest) -> Answer:
    """A line as the answer to a request; raises the error it holds, or ProtocolError."""
    try:
        reply = msgspec.json.decode(line, type=Reply)
        if reply.error:
            raise KINDS.get(reply.error, ProtocolError)(reply.message, hint=reply.hint)
        return msgspec.json.decode(reply.answer, type=ANSWERS.get(type(request), Done))
    except msgspec.MsgspecError as error:
        raise ProtocolError("igor's service answered something this igor does not understand") from error
