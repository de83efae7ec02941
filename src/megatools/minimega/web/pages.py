"""The addresses of the pages and what each answers; no logic: they ask the fleet and render.

Without a namespace in front, an address means the VM of that name in any namespace, if there is only one::

    /  /vms  /NS/vms                        the list                /vms/info.json    the same as JSON
    /NS/vm/NAME/connect/                    a console               .../connect/ws    its websocket
    /NS/vm/NAME/screenshot.png?size=PX      the screen              /vms/events       changes (server-sent events)
    POST /NS/vm/NAME/start|stop|kill        the buttons             /HOST/5900+ID     era-1 address of a console
    /hosts                                  hosts and their mesh    /hosts.json       the same as JSON
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound, user_text
from megatools.minimega.web.assets import Assets
from megatools.minimega.web.console import serve_console
from megatools.minimega.web.feed import Feed
from megatools.minimega.web.fleet import FleetView, Row, Verb, find_row, rows_of

SILENT = "Minimega-Silent-Hosts"
"""The header of the list as JSON that names the hosts whose VMs it lacks."""
STATIC = Path(__file__).with_name("static")
_DEAD = ("QUIT", "ERROR")
_VNC_BASE_PORT = 5900
_MAX_SIDE_PX = 4096
_SCREENSHOTS_AT_ONCE = 2


class Pages:
    """The routes, bound to a fleet and its feed."""

    def __init__(self, fleet: FleetView, feed: Feed, novnc: Callable[[], Path]) -> None:
        self._fleet = fleet
        self._feed = feed
        self._novnc = novnc
        self._screens = asyncio.Semaphore(_SCREENSHOTS_AT_ONCE)

    def application(self) -> Starlette:
        """The whole site, without its guard."""
        routes: list[BaseRoute] = [
            Route("/", self._list),
            Route("/hosts", self._hosts),
            Route("/hosts.json", self._hosts_json),
            Mount("/static", Assets(lambda: STATIC)),
            Mount("/novnc", Assets(self._novnc)),
            *self._routes(""),
            Route("/{host}/{port:int}", self._old_console),
            Route("/vnc/{host}/{port:int}", self._old_console),
            *self._routes("/{namespace}"),
            Route("/{namespace}", self._namespace),
        ]
        return Starlette(routes=routes, exception_handlers={MegaError: _refused, Exception: _bug})

    def _routes(self, prefix: str) -> list[BaseRoute]:
        vm = prefix + "/vm/{vm}"
        return [
            Route(prefix + "/vms", self._list),
            Route(prefix + "/vms/info.json", self._info),
            Route(prefix + "/vms/events", self._events),
            Route(vm + "/connect/", self._console),
            Route(vm + "/connect", self._slash),
            WebSocketRoute(vm + "/connect/ws", self._websocket),
            Route(vm + "/screenshot.png", self._screenshot),
            Route(vm + "/{verb}", self._control, methods=["POST"]),
        ]

    async def _rows(self) -> list[Row]:
        return rows_of(await self._fleet.table())

    async def _row(self, request: Request) -> Row:
        words = request.path_params
        return find_row(await self._rows(), words["vm"], words.get("namespace"), self._fleet.host)

    async def _list(self, request: Request) -> Response:
        return FileResponse(STATIC / "vms.html")

    async def _namespace(self, request: Request) -> Response:
        name = request.path_params["namespace"]
        if any(row["namespace"] == name for row in await self._rows()):
            return RedirectResponse(f"/{quote(name)}/vms", 307)
        if name in {row["name"] for row in await self._fleet.hosts()}:  # era 1: the page of a host
            return RedirectResponse(f"/vms#{quote(name)}", 307)
        raise NotFound(f'no page "/{name}"', hint="the list of VMs is at /")

    async def _hosts(self, request: Request) -> Response:
        return FileResponse(STATIC / "hosts.html")

    async def _hosts_json(self, request: Request) -> Response:
        return Response(msgspec.json.encode(await self._fleet.hosts()), media_type="application/json")

    async def _info(self, request: Request) -> Response:
        namespace = request.path_params.get("namespace")
        rows = [
            row for row in await self._rows() if row["state"] not in _DEAD and namespace in (None, row["namespace"])
        ]
        headers = {SILENT: ", ".join(self._fleet.silent())}  # the body is the original's: a list of VMs, nothing else
        return Response(msgspec.json.encode(rows), headers=headers, media_type="application/json")

    async def _events(self, request: Request) -> Response:
        return StreamingResponse(
            self._feed.events(request.path_params.get("namespace")), media_type="text/event-stream"
        )

    async def _console(self, request: Request) -> Response:
        row = await self._row(request)
        if "namespace" not in request.path_params:
            return RedirectResponse(self._console_path(row), 307)
        return FileResponse(STATIC / "console.html")

    async def _slash(self, request: Request) -> Response:
        return RedirectResponse("/" + quote(str(request.scope["path"]).strip("/\\")) + "/", 307)

    async def _old_console(self, request: Request) -> Response:
        vm_id = str(int(request.path_params["port"]) - _VNC_BASE_PORT)
        rows = [row for row in await self._rows() if row["id"] == vm_id]
        host = request.path_params["host"]
        there = [row for row in rows if row["host"] == host]
        return RedirectResponse(self._console_path(find_row(there or rows, vm_id, near=self._fleet.host)), 307)

    def _console_path(self, row: Row) -> str:
        """By name on this host; the same name may be in use on others."""
        vm = row["name" if row["host"] == self._fleet.host else "uuid"]
        return f"/{quote(row['namespace'], safe='')}/vm/{quote(vm, safe='')}/connect/"

    async def _websocket(self, websocket: WebSocket) -> None:
        await serve_console(websocket, self._fleet)

    async def _screenshot(self, request: Request) -> Response:
        size = request.query_params.get("size", "0")
        if not (size.isascii() and size.isdigit() and int(size) <= _MAX_SIDE_PX):
            raise InvalidInput(f'size "{size}" is not a number of pixels in 0..{_MAX_SIDE_PX}')
        row = await self._row(request)
        async with self._screens:
            png = await self._fleet.screenshot(row, int(size))
        return Response(png, media_type="image/png")

    async def _control(self, request: Request) -> Response:
        word = request.path_params["verb"]
        if word not in list(Verb):
            raise NotFound(f'a VM cannot be told to "{word}"', hint=f"one of: {', '.join(Verb)}")
        row = await self._row(request)
        await self._fleet.control(row, Verb(word))
        return PlainTextResponse("")


async def _refused(request: Request, error: Exception) -> Response:
    """The request boundary for errors a user can understand: text, with the status of its kind."""
    assert isinstance(error, MegaError)
    return PlainTextResponse(user_text(error) + "\n", error.http_status)


async def _bug(request: Request, error: Exception) -> Response:
    """The same for bugs: one line for the user; starlette raises it again, and uvicorn logs the traceback."""
    return PlainTextResponse(f"internal error: {error!r}; see the log\n", 500)
