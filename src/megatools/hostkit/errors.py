"""The one error tree of the Mega tools, and how an error becomes text.

Anyone may raise these; features subclass a kind and never the root::

    MegaError
      +-- InvalidInput      what was asked for is malformed or out of range
      +-- NotFound          the thing named does not exist
      +-- AlreadyExists     the thing named exists and must not
      +-- InvalidState      the thing exists, but not in a state that allows this
      +-- PermissionDenied  the caller may not do this
      +-- Unavailable       something outside is missing, full or too slow
      +-- CommandFailed     another program ran and failed
      +-- ProtocolError     a peer broke the rules of the conversation
      +-- Corrupt           stored data contradicts itself

A message is lower case, has no full stop, names the thing in quotes and never repeats its cause;
the way out goes in the hint (house.md, R5).
"""

from __future__ import annotations

from typing import ClassVar


class MegaError(Exception):
    """An error that a user can understand: a message, a hint, an exit code and an HTTP status."""

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InvalidInput(MegaError):
    """What was asked for is malformed or out of range."""

    exit_code = 2
    http_status = 400


class NotFound(MegaError):
    """The thing named does not exist."""

    exit_code = 3
    http_status = 404


class AlreadyExists(MegaError):
    """The thing named exists and must not."""

    exit_code = 4
    http_status = 409


class InvalidState(MegaError):
    """The thing exists, but is not in a state that allows this."""

    exit_code = 5
    http_status = 409


class PermissionDenied(MegaError):
    """The caller may not do this."""

    exit_code = 6
    http_status = 403


class Unavailable(MegaError):
    """Something outside is missing, full or too slow."""

    exit_code = 7
    http_status = 503


class CommandFailed(MegaError):
    """Another program ran and failed."""

    exit_code = 8
    http_status = 502


class ProtocolError(MegaError):
    """A peer broke the rules of the conversation."""

    exit_code = 9
    http_status = 502


class Corrupt(MegaError):
    """Stored data contradicts itself."""

    exit_code = 10
    http_status = 500


def chain_text(error: BaseException) -> str:
    """One line for an error and its causes, outermost first, joined by ': '."""
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        text = _text_of(seen)
        if not parts or (text and not parts[-1].endswith(text)):
            parts.append(text or type(seen).__name__)
        seen = seen.__cause__
    return ": ".join(parts)


def _text_of(error: BaseException) -> str:
    """An error's own words; the system's without number and file name, which the error above has named."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(chain_text(each) for each in error.exceptions))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or ("" if isinstance(error, TimeoutError) else type(error).__name__)


def hint_of(error: BaseException) -> str:
    """The first hint along the chain of causes, or an empty string."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MegaError) and seen.hint:
            return seen.hint
        seen = seen.__cause__
    return ""


def user_text(error: BaseException) -> str:
    """What a user is shown: the chain on the first line, then `hint: ...` on a second one, if any."""
    hint = hint_of(error)
    return f"{chain_text(error)}\nhint: {hint}" if hint else chain_text(error)
