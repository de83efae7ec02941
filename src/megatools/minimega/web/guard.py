"""Who may see the pages: the token, the cookie, the Host and Origin checks, and the headers of every answer.

An ASGI layer around the whole application, so that no route can be forgotten::

    Host known? -> public file? -> token in the address: cookie and redirect -> cookie or bearer token?
                -> something that changes, or a websocket: same origin? -> the application

A browser holds the cookie; programs send `Authorization: Bearer TOKEN` instead and need no Origin.
"""

from __future__ import annotations

import hmac
import html
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, quote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SIGN_IN_PATH = "/token"
_PUBLIC_PREFIX = "/static/"
_SAFE_METHODS = ("GET", "HEAD")
_MAX_FORM_BYTES = 4096

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Lets through what may pass, answers the rest itself."""

    def __init__(
        self, app: ASGIApp, *, token: str, cookie: str, is_own_host: Callable[[str], bool], sign_in: Path
    ) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._is_own_host = is_own_host
        self._sign_in = sign_in.read_text()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or websocket."""
        if scope["type"] == "http":
            await self._http(Request(scope, receive), receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await self._websocket(HTTPConnection(scope), receive, send)

    async def _http(self, request: Request, receive: Receive, send: Send) -> None:
        refusal = await self._refusal(request)
        await (refusal or self._app)(request.scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if not self._is_own_host(host):
            return PlainTextResponse(
                f"these pages are not served under the name {host!r}\nhint: use the URL that vnc serve printed\n", 403
            )
        path = str(request.scope["path"])
        if path.startswith(_PUBLIC_PREFIX) and request.method in _SAFE_METHODS:
            return None
        if path == SIGN_IN_PATH and request.method == "POST":
            return await self._signed_in(request)
        if request.method == "GET" and "token" in request.query_params:
            return self._token_redirect(request)
        return self._check(request)

    def _check(self, request: Request) -> Response | None:
        by_cookie, by_token = self._has_cookie(request), self._has_bearer(request)
        if not (by_cookie or by_token):
            return self._ask(request, "")
        if request.method not in _SAFE_METHODS and not _same_origin(request, required=not by_token):
            return PlainTextResponse("this request comes from another page\n", 403)
        return None

    async def _signed_in(self, request: Request) -> Response:
        if not _same_origin(request, required=True):
            return PlainTextResponse("this request comes from another page\n", 403)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                return PlainTextResponse(f"a form is at most {_MAX_FORM_BYTES} bytes\n", 413)
        given = parse_qs(body.decode("utf-8", errors="replace")).get("token", [""])[0].strip()
        return self._admit("/") if self._is_token(given) else self._ask(request, "That is not this daemon's token.")

    def _token_redirect(self, request: Request) -> Response:
        if not self._is_token(request.query_params["token"]):
            return self._ask(request, "The token in this address is not this daemon's: it changes at every start.")
        rest = [(key, value) for key, value in parse_qsl(request.url.query) if key != "token"]
        path = "/" + quote(str(request.scope["path"]).lstrip("/\\"))  # never "//host", which would lead elsewhere
        return self._admit(f"{path}?{urlencode(rest)}" if rest else path)

    def _admit(self, location: str) -> Response:
        response = RedirectResponse(location, status_code=303)
        response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return response

    def _ask(self, request: Request, problem: str) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._sign_in.replace("{{problem}}", html.escape(problem)), 401)
        return JSONResponse({"error": "the token is missing or wrong", "hint": "use the URL vnc serve printed"}, 401)

    async def _websocket(self, connection: HTTPConnection, receive: Receive, send: Send) -> None:
        by_token = self._has_bearer(connection)
        known = self._is_own_host(connection.headers.get("host", ""))
        if known and (by_token or self._has_cookie(connection)) and _same_origin(connection, required=not by_token):
            await self._app(connection.scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})  # before accept: HTTP status 403

    def _has_cookie(self, connection: HTTPConnection) -> bool:
        return self._is_token(connection.cookies.get(self._cookie, ""))

    def _has_bearer(self, connection: HTTPConnection) -> bool:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(given.strip())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _same_origin(connection: HTTPConnection, *, required: bool) -> bool:
    """Whether the page that asks is one of ours: its Origin names the host it asks."""
    origin, host = connection.headers.get("origin"), connection.headers.get("host", "")
    if origin is None:
        return not required
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
