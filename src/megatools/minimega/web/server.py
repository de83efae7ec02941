"""The page server of the daemon: started and stopped by commands, it lives in the daemon's own loop.

`app` makes one; `commands.web` starts it. uvicorn gets sockets that are bound already and no say over signals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

from megatools.hostkit.errors import AlreadyExists, NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.web.address import Address, is_own_host, listen, parse_address, public_host
from megatools.minimega.web.fleet import FleetView

if TYPE_CHECKING:
    from uvicorn import Server

    from megatools.minimega.web.feed import Feed

_log = logging.getLogger(__name__)

NOVNC = Path(__file__).with_name("static") / "novnc"
_GOODBYE_S = 2


class WebServer:
    """Pages on one address; the token is made once, so that a URL stays good until the daemon ends."""

    def __init__(self, fleet: FleetView, supervisor: Supervisor) -> None:
        self._fleet = fleet
        self._supervisor = supervisor
        self._token = secrets.token_urlsafe(32)
        self._novnc = NOVNC
        self._running: _Running | None = None

    @property
    def url(self) -> str:
        """The full address with its token; empty when not running."""
        return "" if self._running is None else self._running.url

    @property
    def viewers(self) -> int:
        """How many pages follow the list of VMs now."""
        return 0 if self._running is None else self._running.feed.viewers

    @property
    def novnc(self) -> str:
        """The directory the noVNC files are served from."""
        return str(self._novnc)

    def set_novnc(self, path: str) -> None:
        """Serve noVNC from another directory; an empty path restores our own copy.

        Raises NotFound when the directory holds no noVNC.
        """
        folder = Path(path).absolute() if path else NOVNC
        if not (folder / "core" / "rfb.js").is_file():
            raise NotFound(f'no noVNC in "{folder}"', hint="the folder must hold core/rfb.js; clear vnc restores ours")
        self._novnc = folder

    async def start(self, address: str) -> str:
        """Serve on `[host]:port` (empty: port 8080 of this machine only); returns the URL with its token.

        Raises AlreadyExists when running, InvalidInput for a bad address, Unavailable when the port is in use.
        """
        if self._running is not None:
            raise AlreadyExists(f"vnc already running on: {self._running.shown}", hint=f"open {self.url}")
        wanted = parse_address(address)
        sockets = listen(wanted)
        running = _Running(self._fleet, self._token, wanted, sockets, lambda: self._novnc)
        self._running = running
        self._supervisor.start("web pages", self._serve(running))
        self._supervisor.start("web feed", running.feed.run())
        _log.info("pages are served on %s", running.shown)
        return running.url

    async def stop(self) -> None:
        """Stop serving; open pages and consoles are closed. Does nothing when not running."""
        if self._running is not None:
            await self._running.stop()

    async def _serve(self, running: _Running) -> None:
        try:
            await running.serve()
        finally:
            self._running = None


class _Running:
    """One stretch of serving, from a start to a stop."""

    def __init__(
        self, fleet: FleetView, token: str, address: Address, sockets: list[socket.socket], novnc: Callable[[], Path]
    ) -> None:
        from megatools.minimega.web.feed import Feed

        port = int(sockets[0].getsockname()[1])
        host = public_host(address)
        self.shown = f"{host}:{port}"
        self.url = f"http://{self.shown}/?token={token}"
        self.feed = Feed(fleet)
        self._sockets = sockets
        self._ended = asyncio.Event()
        self._server = _server(fleet, self.feed, novnc, token, f"minimega_{port}")

    async def serve(self) -> None:
        try:
            await self._server.serve(self._sockets)
        finally:
            self.feed.close()
            for one in self._sockets:
                one.close()
            self._ended.set()

    async def stop(self) -> None:
        self.feed.close()
        self._server.should_exit = True
        async with asyncio.timeout(_GOODBYE_S * 3):
            await self._ended.wait()


def _server(fleet: FleetView, feed: Feed, novnc: Callable[[], Path], token: str, cookie: str) -> Server:
    """The uvicorn server; its libraries are imported here, for a daemon without pages needs none of them."""
    import uvicorn

    from megatools.minimega.web.guard import Guard
    from megatools.minimega.web.pages import STATIC, Pages

    class Quiet(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield  # signals belong to the daemon

    names = frozenset({socket.gethostname().lower()})
    app = Guard(
        Pages(fleet, feed, novnc).application(),
        token=token,
        cookie=cookie,
        is_own_host=lambda header: is_own_host(header, names),
        sign_in=STATIC / "sign-in.html",
    )
    return Quiet(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            http="h11",
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
    )
