"""Who may see the pages and use the API: a token's owner, by a cookie (browsers) or a bearer token (programs).

An ASGI layer around the whole application, so that no route can be forgotten::

    sign-in page or its files? -> cookie or bearer token good? -> something that changes, by cookie: same origin?
        -> the application, with the person in the request's scope
"""

from __future__ import annotations

import html
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from megatools.igor.model.person import Person
from megatools.igor.web.engines import Engines

SIGN_IN_PATH, SIGN_OUT_PATH = "/token", "/sign-out"
COOKIE = "igor"
_PUBLIC_PREFIX = "/static/"
_SAFE_METHODS = ("GET", "HEAD")
_MAX_FORM_BYTES = 4096
_PERSON = "igor.person"
_HINT = "make a token with: igor token"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def asker(connection: HTTPConnection) -> Person:
    """Who asks, as the guard found."""
    person = connection.scope[_PERSON]
    assert isinstance(person, Person)
    return person


def secret_of(connection: HTTPConnection) -> tuple[str, bool]:
    """The token that came with a request, and whether it came as a bearer token (no browser sends that by itself)."""
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip(), True
    return connection.cookies.get(COOKIE, ""), False


class Guard:
    """Lets through what may pass, answers the rest itself."""

    def __init__(self, app: ASGIApp, engines: Engines, sign_in: Path) -> None:
        self._app = app
        self._engines = engines
        self._sign_in = sign_in.read_text()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; the server's own life passes through."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = await self._refusal(Request(scope, receive))
            await (refusal or self._app)(scope, receive, _with_headers(send))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _refusal(self, request: Request) -> Response | None:
        path = str(request.scope["path"])
        if path.startswith(_PUBLIC_PREFIX) and request.method in _SAFE_METHODS:
            return None
        if path == SIGN_IN_PATH and request.method == "POST":
            return await self._signed_in(request)
        secret, is_bearer = secret_of(request)
        person = await self._engines.person(secret)
        if person is None:
            return self._ask(request, "")
        if request.method not in _SAFE_METHODS and not is_bearer and not _same_origin(request):
            return _no("this request comes from another page", 403)
        if path == SIGN_OUT_PATH and request.method == "POST":
            response = RedirectResponse("/", status_code=303)
            response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
            return response
        request.scope[_PERSON] = person
        return None

    async def _signed_in(self, request: Request) -> Response:
        if not _same_origin(request):
            return _no("this request comes from another page", 403)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM_BYTES:
                return _no(f"a form is at most {_MAX_FORM_BYTES} bytes", 413)
        given = parse_qs(body.decode("utf-8", errors="replace")).get("token", [""])[0].strip()
        if await self._engines.person(given) is None:
            return self._ask(request, "This token is not known, or its time is over.")
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(COOKIE, given, httponly=True, secure=True, samesite="strict", path="/")
        return response

    def _ask(self, request: Request, problem: str) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return HTMLResponse(self._sign_in.replace("{{problem}}", html.escape(problem)), 401)
        return _no("the token is missing, wrong or over", 401)


def _no(message: str, status: int) -> Response:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    body = {"error": "PermissionDenied", "message": message, "hint": _HINT if status == 401 else ""}
    return JSONResponse(body, status, headers=headers)


def _same_origin(connection: HTTPConnection) -> bool:
    """Whether the page that asks is one of ours: its Origin names the host it asks."""
    return connection.headers.get("origin", "").lower() == f"https://{connection.headers.get('host', '').lower()}"


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending
