"""Static files out of one folder, and nothing outside it; `pages` mounts it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

_SCRIPTS = (".js", ".mjs")


class Assets:
    """Serves the folder that `folder()` names now; it may change while serving. Links out of it are not followed."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._served: tuple[Path, StaticFiles] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        folder = self._folder().resolve()
        if not folder.is_dir():
            await PlainTextResponse(f'no folder "{folder}"\n', 404)(scope, receive, send)
            return
        if self._served is None or self._served[0] != folder:
            self._served = (folder, StaticFiles(directory=folder))
        await self._served[1](scope, receive, _typed(scope, send))


def _typed(scope: Scope, send: Send) -> Send:
    """Scripts get their type from us: the machine's own table of types may not know `.mjs`."""
    is_script = str(scope["path"]).endswith(_SCRIPTS)

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["cache-control"] = "no-cache"
            if is_script and message["status"] == 200:
                headers["content-type"] = "text/javascript; charset=utf-8"
        await send(message)

    return sending
