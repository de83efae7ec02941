"""The addresses of the site and what each answers; no logic: everything is asked of the engine.

::

    /                 the page                 GET /profiles.json   the profiles the asker may use
    GET /events       the live picture         POST /api            any request of the API (see `uploads`)
    GET /metrics      for Prometheus           POST /token          sign in (the guard answers)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from megatools.hostkit.errors import MegaError, PermissionDenied, Unavailable
from megatools.igor.api import wire
from megatools.igor.api.requests import GetProfiles, MakeToken, Overview, Show, Stats, StatsTable
from megatools.igor.web import metrics
from megatools.igor.web.engines import Engines
from megatools.igor.web.feed import Feed
from megatools.igor.web.guard import asker, secret_of
from megatools.igor.web.uploads import HEADER, Upload, sizes_of

_log = logging.getLogger(__name__)
STATIC = Path(__file__).with_name("static")
_JSON = "application/json"
_UPLOADS_AT_ONCE = 4
_UPLOAD_DEADLINE_S = 3600.0
_REQUEST_DEADLINE_S = 30.0
_STATS_DAYS = 30


class Pages:
    """The routes, bound to engines and the feed: `engines` for the API, `quick` ones for what never takes long."""

    def __init__(self, engines: Engines, quick: Engines, feed: Feed) -> None:
        self._engines = engines
        self._quick = quick
        self._feed = feed
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    def application(self) -> Starlette:
        """The whole site, without its guard; the feed runs while it does."""
        routes = [
            Route("/", self._page),
            Mount("/static", StaticFiles(directory=STATIC)),
            Route("/events", self._events),
            Route("/profiles.json", self._profiles),
            Route("/metrics", self._metrics),
            Route("/api", self._api, methods=["POST"]),
        ]
        handlers = {MegaError: _refused, Exception: _bug}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._life)

    @contextlib.asynccontextmanager
    async def _life(self, _: Starlette) -> AsyncGenerator[None]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feed.run())
            try:
                yield
            finally:
                self._feed.close()

    async def _page(self, request: Request) -> Response:
        return FileResponse(STATIC / "cluster.html")

    async def _events(self, request: Request) -> Response:
        secret, _ = secret_of(request)

        async def is_known() -> bool:
            return await self._quick.person(secret) is not None

        return StreamingResponse(self._feed.events(asker(request), is_known), media_type="text/event-stream")

    async def _profiles(self, request: Request) -> Response:
        answer = await self._quick.ask(asker(request), GetProfiles())
        return Response(msgspec.json.encode(answer), media_type=_JSON)

    async def _metrics(self, request: Request) -> Response:
        overview = await self._engines.ask(asker(request), Show())
        stats = await self._engines.ask(asker(request), Stats(_STATS_DAYS))
        assert isinstance(overview, Overview)
        assert isinstance(stats, StatsTable)
        return Response(metrics.exposition(overview, stats), headers={"content-type": metrics.CONTENT_TYPE})

    async def _api(self, request: Request) -> Response:
        config = self._engines.config
        sizes = sizes_of(request.headers.get(HEADER, ""), config.boot.max_image_bytes)
        with Upload(sizes, config.state) as upload:
            turn = self._uploads if sizes else contextlib.nullcontext()  # a slow upload delays uploads only
            try:
                async with turn, asyncio.timeout(_UPLOAD_DEADLINE_S if sizes else _REQUEST_DEADLINE_S):
                    await upload.receive(request.stream())
            except (TimeoutError, ClientDisconnect) as error:
                raise Unavailable("the request did not come whole") from error
            asked = wire.request_of(upload.line)
            if isinstance(asked, MakeToken):
                raise PermissionDenied("a token cannot make another", hint="run igor token on the cluster's machine")
            answer = await self._engines.ask(asker(request), asked, upload.files)
        return Response(wire.answer_line(answer), media_type=_JSON)


async def _refused(request: Request, error: Exception) -> Response:
    status = error.http_status if isinstance(error, MegaError) else 500
    return Response(wire.error_line(error), status, media_type=_JSON)


async def _bug(request: Request, error: Exception) -> Response:
    _log.error("a request failed: %s %s", request.method, request.url.path, exc_info=error)
    failed = Unavailable(f"igor's pages failed: {type(error).__name__}", hint="see the log of igor web")
    return Response(wire.error_line(failed), 500, media_type=_JSON)
