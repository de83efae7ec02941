"""A VM's console through a websocket: binary frames in, binary frames out."""

from __future__ import annotations

from starlette.websockets import WebSocket, WebSocketDisconnect

from megatools.hostkit.errors import MegaError, user_text
from megatools.minimega.vnc.relay import End, ViewerLeft, relay
from megatools.minimega.web.fleet import FleetView, find_row, rows_of

NO_CONSOLE = 4404
CONSOLE_GONE = 4410
"""Close codes of our own (RFC 6455 leaves 4000-4999 to applications)."""

_MAX_REASON_BYTES = 123  # RFC 6455, 5.5


class _WebsocketViewer:
    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def receive(self) -> bytes | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        data: bytes | None = message.get("bytes")
        return data if data is not None else (text or "").encode()

    async def send(self, data: bytes) -> None:
        try:
            await self._websocket.send_bytes(data)
        except (RuntimeError, WebSocketDisconnect, OSError) as error:  # starlette raises each of these for one cause
            raise ViewerLeft("the viewer left") from error


async def serve_console(websocket: WebSocket, fleet: FleetView) -> None:
    """Accept, connect to the console of the VM that the address names, and carry bytes until one side ends.

    Why it ended is in the close code and reason: 4404 no such console, 4410 the VM closed it.
    """
    offered: list[str] = websocket.scope.get("subprotocols", [])
    await websocket.accept("binary" if "binary" in offered else None)
    viewer = _WebsocketViewer(websocket)
    try:
        words = websocket.path_params
        row = find_row(rows_of(await fleet.table()), words["vm"], words.get("namespace"), fleet.host)
        end = await relay(viewer, await fleet.console(row))
    except MegaError as error:
        await _close(websocket, NO_CONSOLE, user_text(error))
        return
    if end is End.CONSOLE:
        await _close(websocket, CONSOLE_GONE, end.value)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    short = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
    try:
        await websocket.close(code, short)
    except (RuntimeError, WebSocketDisconnect, OSError):  # the viewer left first: nobody to tell
        return
