"""What this host tells others' pages: its VMs, whom it is connected to, and the bytes of its consoles.

Started by `everywhere`. Every host answers, with pages of its own or without. Nothing but consoles of known VMs can be
reached.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator

import msgspec

from megatools.hostkit.errors import PermissionDenied, ProtocolError
from megatools.hostkit.tasks import set_within
from megatools.minimega.lang.answer import Table
from megatools.minimega.mesh.mesh import Caller, Mesh, Role, Stream
from megatools.minimega.web.local import LocalFleet
from megatools.minimega.web.tables import ALIVE

VMS, CONSOLE, LINKS = "vms", "console", "vms links"
FOLLOW, ONCE = b"follow", b"once"
"""The requests of `VMS`: its table after every change, or now."""

_log = logging.getLogger(__name__)
_SPACING_S = 0.1  # between two tables of one host: a hundred VMs that start at once are a few tables, not a hundred
_ALIVE_S = 1.0  # how often a host that is followed says that nothing changed
_CHUNK_BYTES = 65536


class ConsoleWanted(msgspec.Struct, frozen=True):
    """The request of a console's stream: the namespace and the UUID of the VM."""

    namespace: str
    vm: str


def serve(local: LocalFleet, mesh: Mesh) -> None:
    """Answer others from now on."""
    teller = _Teller(local, mesh)
    mesh.serve(VMS, teller.vms)
    mesh.serve(LINKS, teller.links)
    mesh.accept(CONSOLE, teller.console)


class _Teller:
    def __init__(self, local: LocalFleet, mesh: Mesh) -> None:
        self._local = local
        self._mesh = mesh

    async def vms(self, caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        news = asyncio.Event()
        listening = asyncio.create_task(self._listen(news))
        await asyncio.sleep(0)  # it listens before the first look, so that nothing is missed between two looks
        shown: Table | None = None
        try:
            while True:
                news.clear()
                table = _visible(self._local.table(), caller)
                if table != shown:
                    shown = table
                    yield msgspec.msgpack.encode(table)
                if request == ONCE:
                    return
                while not await set_within(news, _ALIVE_S):
                    yield ALIVE
                await asyncio.sleep(_SPACING_S)
        finally:
            listening.cancel()

    async def _listen(self, news: asyncio.Event) -> None:
        async for _ in self._local.changes():
            news.set()

    async def links(self, _caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
        yield msgspec.msgpack.encode(sorted({link.peer for link in await self._mesh.links()}))

    async def console(self, caller: Caller, request: bytes, stream: Stream) -> None:
        """Carry a console's bytes until either side ends."""
        try:
            wanted = msgspec.msgpack.decode(request, type=ConsoleWanted)
        except msgspec.MsgspecError as error:
            raise ProtocolError("a console is asked for wrongly") from error
        if caller.role is not Role.FULL or caller.namespace not in ("", wanted.namespace):
            raise PermissionDenied(f'"{caller.name}" may not use consoles of namespace "{wanted.namespace}"')
        reader, writer = await self._local.console(wanted.namespace, wanted.vm)
        try:
            pumps = {
                asyncio.create_task(_pump(stream.reader, writer)),
                asyncio.create_task(_pump(reader, stream.writer)),
            }
            _, rest = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in rest:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError as error:
        _log.debug("a console ended: %s", error)


def _visible(table: Table, caller: Caller) -> Table:
    """What a caller limited to a namespace may see."""
    if not caller.namespace:
        return table
    at = table.header.index("namespace")
    return Table(table.header, tuple(row for row in table.rows if row[at] == caller.namespace))
