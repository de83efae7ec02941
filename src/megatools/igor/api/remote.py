"""igor on another machine, over HTTPS with a token: the third door. Used by the command line when IGOR_URL is set.

See `web.uploads` for how a request and its files travel.
"""

from __future__ import annotations

import http.client
import os
import ssl
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, PermissionDenied, ProtocolError, Unavailable
from megatools.igor.api import wire
from megatools.igor.api.requests import Answer, AnyRequest

TIMEOUT_S = 900.0
_CHUNK = 1 << 18
_MAX_ANSWER = 1 << 28


class HttpsDoor:
    """`igor web` at an address; who asks is who made the token."""

    def __init__(self, url: str, token: str, ca: str = "", *, timeout_s: float = TIMEOUT_S) -> None:
        """`ca` is a file of certificates to believe instead of the system's. Raises InvalidInput."""
        where = urlsplit(url)
        try:
            port = where.port or 443
        except ValueError as error:
            raise InvalidInput(f'"{url}" has no port that is a number') from error
        if where.scheme != "https" or not where.hostname:
            raise InvalidInput(f'"{url}" is not an https address', hint="IGOR_URL=https://igor.site:8443/")
        try:
            trust = ssl.create_default_context(cafile=ca or None)
        except OSError as error:
            raise InvalidInput(f'"{ca}" holds no certificates') from error
        self._url = url
        self._token = token
        self._connection = http.client.HTTPSConnection(where.hostname, port, timeout=timeout_s, context=trust)

    def ask(self, request: AnyRequest, files: Sequence[int] = ()) -> Answer:
        """See `doors.Door`; raises Unavailable (no answer, no trust), ProtocolError and igor's own."""
        line = msgspec.json.encode(request) + b"\n"
        sizes = [_size(one) for one in files]
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(line) + sum(sizes)),
        }
        if sizes:
            headers["Igor-Files"] = ",".join(str(size) for size in sizes)
        try:
            self._connection.request("POST", "/api", _body(line, files, sizes), headers)
            reply = self._connection.getresponse().read(_MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        finally:
            self._connection.close()
        return wire.answer_of(reply, request)

    def _lost(self, error: Exception) -> MegaError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unavailable(f'the certificate of "{self._url}" is not trusted', hint="IGOR_CA names its file")
        if isinstance(error, http.client.HTTPException):
            return ProtocolError(f'what answers at "{self._url}" is no igor')
        return Unavailable(f'no igor answers at "{self._url}"', hint="igor web serves it")


def door_from(environment: Mapping[str, str]) -> HttpsDoor:
    """The door that IGOR_URL, IGOR_TOKEN_FILE (or IGOR_TOKEN) and IGOR_CA describe.

    Raises InvalidInput, NotFound, PermissionDenied.
    """
    token, place = environment.get("IGOR_TOKEN", ""), environment.get("IGOR_TOKEN_FILE", "")
    if place:
        token = _read(place)
    if not token.isascii() or not token.isprintable() or not token:
        raise InvalidInput(
            "IGOR_URL is set, but no token", hint='IGOR_TOKEN_FILE names a file with what "igor token" printed there'
        )
    return HttpsDoor(environment["IGOR_URL"], token, environment.get("IGOR_CA", ""))


def _read(place: str) -> str:
    try:
        return Path(place).read_text().strip()
    except PermissionError as error:
        raise PermissionDenied(f'cannot read "{place}"') from error
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f'"{place}" holds no token', hint="IGOR_TOKEN_FILE names it") from error


def _size(descriptor: int) -> int:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise InvalidInput("only regular files can be sent to another machine")
    return found.st_size


def _body(line: bytes, files: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    yield line
    for descriptor, size in zip(files, sizes, strict=True):
        at = 0
        while at < size:
            chunk = os.pread(descriptor, min(_CHUNK, size - at), at)
            if not chunk:
                raise Unavailable("a file became shorter while it was sent")
            yield chunk
            at += len(chunk)
