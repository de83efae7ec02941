"""The HTTPS server of the pages, from an address to its end; `command` runs it."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from megatools.hostkit.errors import InvalidInput, PermissionDenied, Unavailable
from megatools.igor.api.engine import open_engine
from megatools.igor.model.config import Config
from megatools.igor.web.certificate import certificate
from megatools.igor.web.engines import Engines
from megatools.igor.web.feed import Feed
from megatools.igor.web.guard import Guard
from megatools.igor.web.pages import STATIC, Pages

_THREADS = 8  # switching nodes may keep one for minutes
_QUICK_THREADS = 2
_GOODBYE_S = 3
_BACKLOG = 256


def serve(config: Config, address: str, announce: Callable[[str], None]) -> None:
    """Serve on `host:port` (port 0: any) until told to end by SIGTERM or SIGINT; `announce` gets the URL.

    Raises InvalidInput, PermissionDenied, Unavailable, and as `open_engine` and `certificate`.
    """
    open_engine(config).store.close()  # what is wrong with the store is said now, not to the first who asks
    files = certificate(config)
    listener = listen(address)
    engines, quick, watching = Engines(config, _THREADS), Engines(config, _QUICK_THREADS), Engines(config, 1)
    feed = Feed(watching)
    try:
        app = Guard(Pages(engines, quick, feed).application(), quick, STATIC / "sign-in.html")
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                http="h11",
                ws="none",
                proxy_headers=False,
                server_header=False,
                ssl_certfile=str(files[0]),
                ssl_keyfile=str(files[1]),
                timeout_graceful_shutdown=_GOODBYE_S,
            ),
            feed,
        )
        host, port = listener.getsockname()[:2]
        announce(f"https://{_shown(address, str(host))}:{port}/")
        server.run([listener])
    finally:
        listener.close()
        for one in (engines, quick, watching):
            one.close()


class _Server(uvicorn.Server):
    """Ends the streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop."""
        self._feed.close()
        await super().shutdown(sockets)


def _shown(address: str, bound: str) -> str:
    named = address.rpartition(":")[0].strip("[]")
    if named in ("", "0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{bound}]" if ":" in bound else named


def listen(address: str) -> socket.socket:
    """A listening socket for `host:port`, `[IPv6]:port` or `:port` (every address).

    Raises InvalidInput, PermissionDenied, Unavailable (in use).
    """
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidInput(f'"{address}" is not an address to listen on', hint="for example 127.0.0.1:8443")
    host = host.strip("[]")
    try:
        return socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG
        )
    except PermissionError as error:
        raise PermissionDenied(f'not allowed to listen on "{address}"', hint="use a port above 1023") from error
    except OSError as error:
        raise Unavailable(f'cannot listen on "{address}"') from error
