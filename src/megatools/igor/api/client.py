"""The service's client: one connection, one request, one answer. Used by the command line and by tests."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import msgspec

from megatools.hostkit.errors import MegaError, PermissionDenied, ProtocolError, Unavailable
from megatools.igor.api import wire
from megatools.igor.api.requests import Answer, AnyRequest

TIMEOUT_S = 900.0
_CHUNK = 1 << 16


class SocketDoor:
    """igor's service behind a unix socket; who asks is what the kernel says of this process."""

    def __init__(self, path: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def ask(self, request: AnyRequest, files: Sequence[int] = ()) -> Answer:
        """See `doors.Door`; raises Unavailable (no service), ProtocolError, PermissionDenied besides igor's own."""
        line = msgspec.json.encode(request) + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self._timeout_s)
                connection.connect(self._path)
                sent = socket.send_fds(connection, [line], list(files)) if files else connection.send(line)
                if sent < len(line):  # even nothing cannot be sent to a service that has answered and closed already
                    connection.sendall(line[sent:])
                reply = _read_line(connection)
        except OSError as error:
            raise self._lost(error) from error
        if not reply:
            raise ProtocolError("igor's service closed the connection without an answer", hint="see its log")
        return wire.answer_of(reply, request)

    def _lost(self, error: OSError) -> MegaError:
        if isinstance(error, PermissionError):
            return PermissionDenied(f'you may not speak to igor\'s service at "{self._path}"')
        if isinstance(error, TimeoutError):
            return Unavailable(f"igor's service did not answer within {self._timeout_s:g} s")
        return Unavailable(f'no igor service answers at "{self._path}"', hint="systemctl start igor.socket")


def _read_line(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    while chunk := connection.recv(_CHUNK):
        parts.append(chunk)
        if chunk.endswith(b"\n"):
            break
    return b"".join(parts)
