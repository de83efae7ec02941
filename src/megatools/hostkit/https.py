"""One HTTP request to a machine of the site (a controller, a switch), with a deadline; blocking, standard library only.

Anyone may call it, from a thread where there is an event loop. Redirects are not followed: they would carry passwords
to places nobody configured.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from megatools.hostkit.errors import InvalidInput, Unavailable

_MAX_BODY = 4 << 20


class Trust(msgspec.Struct, frozen=True):
    """Which certificates are believed: the system's authorities or those of the file `ca`; any without `verify`."""

    verify: bool = True
    ca: str = ""


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back; at most 4 MiB of it."""

    status: int
    body: bytes


def ask(
    method: str,
    url: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    trust: Trust = Trust(),  # noqa: B008 - frozen
) -> HttpAnswer:
    """Send one request; a body is JSON. `timeout_s` limits each wait for the peer.

    Raises InvalidInput (the URL, the file of authorities), Unavailable (no answer, a certificate not believed).
    """
    where = urlsplit(url)
    connection = _connection(url, max(0.05, timeout_s), trust)
    path = (where.path or "/") + (f"?{where.query}" if where.query else "")
    content = {"Content-Type": "application/json"} if body is not None else {}
    try:
        connection.request(method, path, body, {"Accept": "application/json", **content, **(headers or {})})
        answer = connection.getresponse()
        return HttpAnswer(answer.status, answer.read(_MAX_BODY))
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(f'the certificate of "{where.netloc}" is not trusted', hint="name its authority") from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f'"{where.netloc}" does not answer') from error
    finally:
        connection.close()


def _connection(url: str, timeout_s: float, trust: Trust) -> http.client.HTTPConnection:
    where = urlsplit(url)
    try:
        port = where.port
    except ValueError:
        port = 0
    if where.scheme not in ("http", "https") or not where.hostname or port == 0:
        raise InvalidInput(f'"{url}" is not an http or https address')
    if where.scheme == "http":
        return http.client.HTTPConnection(where.hostname, port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=trust.ca or None)
    except OSError as error:
        raise InvalidInput(f'"{trust.ca}" holds no certificates') from error
    if not trust.verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(where.hostname, port, timeout=timeout_s, context=context)
