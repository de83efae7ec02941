"""A websocket to a server as a plain byte pipe (the client side); `rfb.dial_websocket` and tests call it."""

from __future__ import annotations

from collections.abc import Mapping

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from megatools.hostkit.errors import Unavailable


class WebsocketPipe:
    """Binary frames as one stream of bytes."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, data: bytes) -> None:
        """Send one binary frame; raises Unavailable when the server is gone."""
        try:
            await self._connection.send(data)
        except ConnectionClosed as error:
            raise Unavailable("the console ended the connection") from error

    async def receive(self) -> bytes:
        """The next frame's bytes; empty at the end."""
        try:
            data = await self._connection.recv()
        except ConnectionClosed:
            return b""
        return data.encode() if isinstance(data, str) else data

    async def close(self) -> None:
        """Say goodbye and close."""
        await self._connection.close()

    @property
    def close_reason(self) -> str:
        """Why the server closed, empty when it did not say or is still there."""
        return self._connection.close_reason or ""


async def open_websocket(url: str, *, headers: Mapping[str, str], timeout_s: float) -> WebsocketPipe:
    """Connect, offering the subprotocol "binary"; raises Unavailable when refused or when nothing answers."""
    try:
        connection = await connect(
            url,
            additional_headers=dict(headers),
            subprotocols=[Subprotocol("binary")],
            compression=None,
            proxy=None,
            open_timeout=timeout_s,
            close_timeout=timeout_s,
            max_size=None,
        )
    except InvalidStatus as error:
        raise Unavailable(f'the server refuses "{url}" with status {error.response.status_code}') from error
    except (OSError, TimeoutError, InvalidHandshake) as error:
        raise Unavailable(f'no websocket answers at "{url}"') from error
    return WebsocketPipe(connection)
