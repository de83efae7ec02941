"""QEMU's monitor protocol: a thin driver over `qemu.qmp` with deadlines and errors of our own kinds.

Used by VM backends. A monitor serves one client and lets a second one hang in silence: every wait has a
deadline. After `quit`, or when QEMU dies, the connection ends; that is reported through `ended`.
Source: docs/interop/qmp-spec of QEMU; https://qemu.readthedocs.io/projects/python-qemu-qmp/
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, cast

from qemu.qmp import EventListener, Message, QMPClient, Runstate
from qemu.qmp.error import QMPError
from qemu.qmp.qmp_client import ExecuteError

from megatools.hostkit.errors import CommandFailed, ProtocolError, Unavailable

TIMEOUT_S = 30.0
_CLOSE_TIMEOUT_S = 2.0
_NO_EVENT = "-"

Event: TypeAlias = Mapping[str, object]
EventCallback: TypeAlias = Callable[[str, Event], None]

logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # a connection that ends is no news: callers decide


class _Direct(EventListener):
    """Hands events over as they come, and keeps no history."""

    def __init__(self, callback: EventCallback) -> None:
        super().__init__()
        self._callback = callback

    async def put(self, event: Message) -> None:
        """Called by the client for every event."""
        data = event.get("data")
        self._callback(str(event["event"]), cast(Event, data) if isinstance(data, dict) else {})


class Monitor:
    """A connection to one QEMU; made by `over` (a connected socket) or `at` (a path)."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client

    @classmethod
    async def over(
        cls, sock: socket.socket, name: str, on_event: EventCallback, *, timeout_s: float = TIMEOUT_S
    ) -> Monitor:
        """Greet and negotiate over a connected socket; QEMU need not be up yet. Raises Unavailable."""
        return await cls._connect(sock, name, on_event, timeout_s)

    @classmethod
    async def at(cls, path: Path, name: str, on_event: EventCallback, *, timeout_s: float = TIMEOUT_S) -> Monitor:
        """The same for a monitor on disk. Raises Unavailable, also when another client holds the monitor."""
        return await cls._connect(str(path), name, on_event, timeout_s)

    @classmethod
    async def _connect(
        cls, address: str | socket.socket, name: str, on_event: EventCallback, timeout_s: float
    ) -> Monitor:
        client = QMPClient()  # unnamed: a name makes a logger that lives forever
        client.events.names = {_NO_EVENT}  # the default listener would keep every event, forever
        client.register_listener(_Direct(on_event))
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect(address)
        except TimeoutError as error:
            raise Unavailable(f'the monitor of "{name}" did not answer within {timeout_s:g} s') from error
        except (QMPError, OSError, EOFError) as error:
            raise Unavailable(f'cannot reach the monitor of "{name}"') from error
        return cls(client)

    async def ask(self, command: str, arguments: Event | None = None, *, timeout_s: float = TIMEOUT_S) -> object:
        """Run a command and return its value. Raises CommandFailed (refused), Unavailable (gone or too slow)."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise CommandFailed(f'QEMU refused "{command}"') from error
        except TimeoutError as error:
            raise Unavailable(f'QEMU did not answer "{command}" within {timeout_s:g} s') from error
        except (QMPError, OSError, EOFError) as error:
            raise Unavailable(f'the monitor was lost during "{command}"') from error

    async def ask_mapping(self, command: str, arguments: Event | None = None) -> Event:
        """The same for commands that answer an object; raises ProtocolError when they do not."""
        value = await self.ask(command, arguments)
        if not isinstance(value, dict):
            raise ProtocolError(f'QEMU answered "{command}" with no object')
        return cast(Event, value)

    async def drain(self, *, timeout_s: float) -> None:
        """Wait until the connection has ended and all that QEMU said has been heard, at most `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._client.runstate is Runstate.RUNNING:
                    await self._client.runstate_changed()

    async def close(self) -> None:
        """Let go of the monitor; QEMU goes on. Nothing happens when the connection has ended already."""
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._client.disconnect()
        except (QMPError, OSError, EOFError, TimeoutError) as error:  # it ended first: that is what was wanted
            logging.getLogger(__name__).debug("monitor closed with %r", error)
