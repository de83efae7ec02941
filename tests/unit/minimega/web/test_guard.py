"""Who may see the pages: every road to the application is tried without the right to it.

The guard is spoken to in ASGI, as a server would; the application behind it says "inside".
"""

import asyncio
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from megatools.minimega.web.guard import Guard

TOKEN = "right-token"
COOKIE = {"cookie": f"minimega_8080={TOKEN}"}
BEARER = {"authorization": f"Bearer {TOKEN}"}
OURS = {"origin": "http://localhost:8080"}
EVIL = {"origin": "http://evil.example"}


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await PlainTextResponse("inside")(scope, receive, send)


class Answer:
    def __init__(self, messages: list[Message]) -> None:
        self.first = messages[0]
        self.status = int(self.first.get("status", 0))
        self.headers = {key.decode(): value.decode() for key, value in self.first.get("headers", [])}
        self.body = b"".join(message.get("body", b"") for message in messages[1:]).decode()


@pytest.fixture
def ask(tmp_path: Path):  # type: ignore[no-untyped-def]
    page = tmp_path / "sign-in.html"
    page.write_text("<p>{{problem}}</p>")
    guard = Guard(
        inside, token=TOKEN, cookie="minimega_8080", is_own_host=lambda h: h == "localhost:8080", sign_in=page
    )

    def asking(
        path: str = "/",
        headers: dict[str, str] | None = None,
        *,
        method: str = "GET",
        body: bytes = b"",
        kind: str = "http",
        host: str = "localhost:8080",
    ) -> Answer:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        bare, _, query = path.partition("?")
        pairs = [(key.encode(), value.encode()) for key, value in ({"host": host} | (headers or {})).items()]
        scope = {"type": kind, "method": method, "path": bare, "query_string": query.encode(), "headers": pairs}
        asyncio.run(guard(scope, receive, send))
        return Answer(sent)

    return asking


def test_without_the_token_nothing_but_the_public_files_is_served(ask) -> None:
    for path in ("/", "/vms", "/vms/info.json", "/vms/events", "/vm/a/screenshot.png", "/novnc/core/rfb.js", "/static"):
        answer = ask(path)
        assert (answer.status, "inside" in answer.body) == (401, False), path
    assert ask("/static/app.css").body == "inside"


def test_a_browser_is_asked_for_the_token_on_a_page(ask) -> None:
    answer = ask("/", {"accept": "text/html"})
    assert (answer.status, answer.body) == (401, "<p></p>")
    assert "json" in ask("/").headers["content-type"]


def test_the_token_in_the_address_becomes_a_cookie_and_leaves_the_address(ask) -> None:
    answer = ask(f"/vms?token={TOKEN}&a=b")
    assert (answer.status, answer.headers["location"]) == (303, "/vms?a=b")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"minimega_8080={TOKEN};")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ask("/", COOKIE).body == "inside"


def test_a_wrong_token_in_the_address_is_told_apart(ask) -> None:
    answer = ask("/?token=wrong", {"accept": "text/html"} | COOKIE)
    assert answer.status == 401
    assert "not this daemon" in answer.body
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["//evil.example", "///evil.example", "/\\evil.example"])
def test_the_redirect_never_leads_elsewhere(ask, path: str) -> None:
    assert ask(f"{path}?token={TOKEN}").headers["location"] == "/evil.example"


def test_the_form_takes_the_token_from_our_own_page_only(ask) -> None:
    right = f"token={TOKEN}".encode()
    assert ask("/token", OURS, method="POST", body=right).status == 303
    assert ask("/token", OURS, method="POST", body=b"token=wrong").status == 401
    assert ask("/token", EVIL, method="POST", body=right).status == 403
    assert ask("/token", method="POST", body=right).status == 403
    assert ask("/token", OURS, method="POST", body=b"a" * 5000).status == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"cookie": "minimega_8080=wrong"},
        {"cookie": f"minimega_9090={TOKEN}"},
        {"cookie": "minimega_8080="},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"cookie": "minimega_8080=\u00e9"},
    ],
)
def test_wrong_credentials_are_none(ask, headers: dict[str, str]) -> None:
    assert ask("/", headers).status == 401
    assert ask("/", headers | OURS, kind="websocket").first["type"] == "websocket.close"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (COOKIE | OURS, 200),
        (COOKIE | EVIL, 403),
        (COOKIE, 403),
        (COOKIE | {"origin": "null"}, 403),
        (COOKIE | {"origin": "http://localhost:9999"}, 403),
        (COOKIE | {"origin": "http://localhost:8080.evil.example"}, 403),
        (BEARER, 200),
        (BEARER | EVIL, 403),
        (OURS, 401),
    ],
)
def test_what_changes_something_must_come_from_our_own_page(ask, headers: dict[str, str], status: int) -> None:
    assert ask("/vm/a/kill", headers, method="POST").status == status
    expected = "websocket.accept" if status == 200 else "websocket.close"
    assert ask("/vm/a/connect/ws", headers, kind="websocket").first["type"] == expected


def test_a_foreign_host_name_is_refused_even_with_the_cookie(ask) -> None:
    for kind in ("http", "websocket"):
        answer = ask("/static/app.css", COOKIE | {"origin": "http://evil.example"}, host="evil.example", kind=kind)
        assert answer.status == 403 or answer.first["type"] == "websocket.close"
        assert "inside" not in answer.body


def test_every_answer_carries_the_safety_headers(ask) -> None:
    for answer in (ask("/", COOKIE), ask("/"), ask(f"/?token={TOKEN}"), ask("/", host="evil.example")):
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
