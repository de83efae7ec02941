"""What the two ends of a side connection say to each other before bytes flow, and errors across it. Pure.

An error keeps its kind: what was NotFound there is NotFound here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from megatools.hostkit import errors
from megatools.hostkit.errors import MegaError, Unavailable, chain_text, hint_of

_KINDS: dict[str, type[MegaError]] = {
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


class Want(StrEnum):
    """What a connection is for."""

    PULL = "pull"
    STREAM = "stream"


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """The request: bytes of a shared thing called `name`, or a stream to the service `name` (with `payload`).

    `caller` is who asks; with certificates it must be what the certificate says.
    """

    caller: str
    want: Want
    name: str
    offset: int = 0
    length: int = 0
    payload: bytes = b""


class Answer(msgspec.Struct, array_like=True, frozen=True):
    """`length` bytes of the thing come next, or the stream begins; unless there is an `error`."""

    length: int = 0
    error: str = ""
    hint: str = ""
    kind: str = ""

    def raised(self) -> MegaError | None:
        """The error, if it is one."""
        if not self.error:
            return None
        return _KINDS.get(self.kind, Unavailable)(self.error, hint=self.hint)


def refusal(error: MegaError) -> Answer:
    """The answer that carries an error."""
    kind = next((one.__name__ for one in type(error).__mro__ if one.__name__ in _KINDS), "")
    return Answer(error=chain_text(error), hint=hint_of(error), kind=kind)
