"""Joins a side connection to the streams of asyncio, through a pair of sockets in this process.

For `channel`. Consoles and the like: what is bulk goes another way.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from megatools.minimega.mesh.connection import Connection
from megatools.minimega.mesh.mesh import Stream

_FAREWELL_S = 10.0


class Bridge:
    """A connection and the streams it is used through."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        ours, self._theirs = socket.socketpair()
        self._ours = Connection(ours)

    async def stream(self) -> Stream:
        """The streams; to be asked for once."""
        return Stream(*await asyncio.open_connection(sock=self._theirs))

    async def wait_for_bytes(self) -> None:
        """Until something was written to the streams, or they were closed."""
        await self._ours.readable()

    async def carry(self) -> None:
        """Carry bytes both ways until either side ends; what was written before is delivered. Closes both.

        There are no half-open streams: the end of one direction is the end of both.
        """
        out = asyncio.create_task(self._copy(self._ours, self._connection))
        back = asyncio.create_task(self._copy(self._connection, self._ours))
        try:
            await asyncio.wait((out, back), return_when=asyncio.FIRST_COMPLETED)
            if not out.done():
                self._ours.end_writing()
                await asyncio.wait((out,), timeout=_FAREWELL_S)
        finally:
            for direction in (out, back):
                direction.cancel()
            await asyncio.gather(out, back, return_exceptions=True)
            self._ours.close()
        with suppress(OSError, TimeoutError):  # the other end may be gone already
            async with asyncio.timeout(_FAREWELL_S):
                await self._connection.finish()
        self._connection.close()

    def close_streams(self) -> None:
        """Let the streams read their end, when nothing is to be carried (any more)."""
        self._ours.close()

    @staticmethod
    async def _copy(source: Connection, sink: Connection) -> None:
        with suppress(OSError):  # an end that breaks off is an end
            while data := await source.read():
                await sink.write(data)
