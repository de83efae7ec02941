"""The real page server over real QEMUs, without the rest of the daemon: for tests of the pages and consoles.

Each guest is a bare PC that waits in SeaBIOS's boot menu prompt: a screen and a keyboard within a second, no image.
"""

import asyncio
import contextlib
import http.client
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from qemu.qmp import ConnectError, QMPClient

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidState, NotFound
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.lang.answer import Table
from megatools.minimega.vm.screens import png_of_ppm
from megatools.minimega.vnc.relay import Console, connect
from megatools.minimega.web.fleet import Row, Verb
from megatools.minimega.web.server import WebServer

HEADER = ("host", "namespace", "id", "name", "state", "uuid", "memory", "vcpus", "vlan", "ip", "ip6", "tags", "uptime")


@dataclass
class Guest:
    """One VM of a `QemuFleet`; `child` and `qmp` are None for one that exists in the table only."""

    name: str
    namespace: str = "minimega"
    state: str = "BUILDING"
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    ip: str = "[]"
    tags: str = "{}"
    folder: Path | None = None
    child: proc.Child | None = None
    qmp: QMPClient | None = None

    @property
    def vnc(self) -> Path:
        """Its VNC socket."""
        assert self.folder is not None
        return self.folder / "vnc"


class QemuFleet:
    """The fleet the pages see: guests in the order they were added."""

    host = "testhost"

    def __init__(self, base: Path) -> None:
        self._base = base
        self._changed = asyncio.Event()
        self.guests: list[Guest] = []
        self.hushed: dict[str, str] = {}

    def changed(self) -> None:
        """Tell the pages that a guest was changed."""
        self._changed.set()

    def add(self, guest: Guest) -> Guest:
        """A guest that exists in the table, without a process."""
        self.guests.append(guest)
        self.changed()
        return guest

    async def boot(self, name: str, *, namespace: str = "minimega") -> Guest:
        """A real guest, held at its first instruction."""
        guest = Guest(name, namespace, folder=self._base / f"vm{len(self.guests)}")
        assert guest.folder is not None
        guest.folder.mkdir()
        qmp_path = guest.folder / "qmp"
        argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nodefaults", "-vga", "std", "-S"]
        argv += ["-vnc", f"unix:{guest.vnc}", "-qmp", f"unix:{qmp_path},server=on,wait=off"]
        argv += ["-boot", "menu=on,splash-time=65000"]
        guest.child = proc.spawn(argv)
        guest.qmp = await self._monitor(guest, qmp_path)
        return self.add(guest)

    async def _monitor(self, guest: Guest, path: Path) -> QMPClient:
        assert guest.child is not None
        async with asyncio.timeout(30):
            while guest.child.poll() is None:
                client = QMPClient(guest.name)
                try:
                    await client.connect(str(path))
                    return client
                except ConnectError:  # QEMU does not listen yet
                    await asyncio.sleep(0.02)
        raise AssertionError(f"QEMU ended with status {guest.child.poll()}")

    async def close(self) -> None:
        """End every guest."""
        for guest in self.guests:
            await self._end(guest)

    async def _end(self, guest: Guest) -> None:
        if guest.child is not None:
            await proc.end(guest.child.identity, grace_s=5)
            await guest.child.wait(timeout_s=5)
        if guest.qmp is not None:
            with contextlib.suppress(Exception):
                await guest.qmp.disconnect()
        guest.child, guest.qmp, guest.state = None, None, "QUIT"
        self.changed()

    def _find(self, namespace: str, vm: str) -> Guest:
        for guest in self.guests:
            if guest.namespace == namespace and vm in (guest.name, guest.uuid):
                return guest
        raise NotFound(f'no VM "{vm}"')

    async def table(self) -> Table:
        """Every guest's row."""
        return Table(
            HEADER,
            tuple(
                (self.host, g.namespace, str(i), g.name, g.state, g.uuid, "64", "1", "[]", g.ip, "[]", g.tags, "1s")
                for i, g in enumerate(self.guests)
            ),
        )

    async def changes(self) -> AsyncIterator[object]:
        """One item for each change, or for several."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield None

    def silent(self) -> dict[str, str]:
        """The hosts a test says are silent."""
        return dict(self.hushed)

    async def hosts(self) -> list[dict[str, str]]:
        """This host alone."""
        return [{"name": self.host, "state": "here", "links": ""}]

    def _live(self, vm: Row) -> Guest:
        guest = self._find(vm["namespace"], vm["uuid"])
        if guest.child is None:
            raise InvalidState(f'VM "{guest.name}" has no console: it is {guest.state}')
        return guest

    async def console(self, vm: Row) -> Console:
        """A connection to a guest's VNC socket."""
        return await connect(self._live(vm).vnc)

    async def screendump(self, guest: Guest) -> bytes:
        """What QEMU itself says is on the screen, as PPM."""
        assert guest.folder is not None
        assert guest.qmp is not None
        file = guest.folder / "screen.ppm"
        await guest.qmp.execute("screendump", {"filename": str(file)})
        return file.read_bytes()

    async def screenshot(self, vm: Row, max_px: int) -> bytes:
        """The same as PNG."""
        return png_of_ppm(await self.screendump(self._live(vm)), max_px)

    async def control(self, vm: Row, verb: Verb) -> None:
        """Start, stop or kill a guest, as the pages ask."""
        await self.tell(vm["namespace"], verb, vm["uuid"])

    async def tell(self, namespace: str, verb: Verb, vm: str) -> None:
        """Start, stop or kill a guest."""
        guest = self._find(namespace, vm)
        if guest.qmp is None:
            raise InvalidState(f'VM "{guest.name}" cannot {verb}: it is {guest.state}', hint="launch it again")
        match verb:
            case Verb.START:
                await guest.qmp.execute("cont")
                guest.state = "RUNNING"
            case Verb.STOP:
                await guest.qmp.execute("stop")
                guest.state = "PAUSED"
            case Verb.KILL:
                await self._end(guest)
        self.changed()


@dataclass
class Site:
    """A running page server."""

    fleet: QemuFleet
    server: WebServer
    url: str

    @property
    def token(self) -> str:
        """The token in the URL."""
        return parse_qs(urlsplit(self.url).query)["token"][0]

    @property
    def origin(self) -> str:
        """`http://localhost:PORT`."""
        return "http://" + urlsplit(self.url).netloc

    @property
    def port(self) -> int:
        """The port it serves on."""
        return urlsplit(self.url).port or 0

    def websocket(self, vm: str, namespace: str = "minimega") -> str:
        """The address of a console's websocket."""
        return f"ws://localhost:{self.port}/{namespace}/vm/{vm}/connect/ws"


@contextlib.asynccontextmanager
async def site(base: Path) -> AsyncIterator[Site]:
    """A page server on a free port of this machine; its guests end with it."""
    fleet = QemuFleet(base)
    async with Supervisor("test") as supervisor:
        server = WebServer(fleet, supervisor)
        try:
            yield Site(fleet, server, await server.start("127.0.0.1:0"))
        finally:
            await server.stop()
            await fleet.close()


@dataclass(frozen=True)
class HttpAnswer:
    """What the server said to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


async def ask(
    site: Site, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, token: str | None = None
) -> HttpAnswer:
    """One request, sent exactly as written (no cleaning of the path), by default with the right bearer token."""

    def asking() -> HttpAnswer:
        connection = http.client.HTTPConnection("localhost", site.port, timeout=20)
        try:
            bearer = {"Authorization": f"Bearer {site.token if token is None else token}"}
            connection.request(method, path, headers=bearer | (headers or {}))
            answer = connection.getresponse()
            return HttpAnswer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    return await asyncio.to_thread(asking)
