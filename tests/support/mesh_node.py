"""A mesh node of its own for tests: a process with a `ZenohMesh` and a few services, driven over its standard streams.

    python -m tests.support.mesh_node '{"name": "kn1", ...}'      one JSON request a line in, JSON answers out

`MeshNode` is the driving end, and offers what the conformance suite needs of a mesh.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from megatools.hostkit.errors import MegaError
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.mesh.clique import ZenohMesh
from megatools.minimega.mesh.credentials import Credentials, CredentialStore, Revocation
from megatools.minimega.mesh.mesh import Arrival, Ending
from megatools.minimega.mesh.plan import MeshPlan
from megatools.minimega.mesh.standing import AlwaysOpen, Enrolled
from tests.support.mesh_services import Services

_ENGINE = "megatools.minimega.mesh.engine"


async def _main(settings: dict[str, Any]) -> None:
    logging.basicConfig(level=settings.pop("level", "WARNING"), stream=sys.stderr)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Supervisor("node") as supervisor:
        mesh = ZenohMesh(_plan(settings), supervisor)
        _services.append(Services(mesh))
        supervisor.start("events", _events(mesh))
        mesh.start()
        mesh.announce()
        while line := await reader.readline():
            supervisor.start("request", _obey(mesh, json.loads(line)))
        await mesh.close()


def _plan(settings: dict[str, Any]) -> MeshPlan:
    """With `cluster` a node with the credentials in that directory (of `owner`), else one of an open mesh."""
    cluster, owner = settings.pop("cluster", ""), settings.pop("owner", settings["name"])
    store = CredentialStore(Path(cluster), owner) if cluster else None
    if store is not None:
        _stores.append(store)
    settings["hubs"] = tuple(settings.get("hubs", ()))
    return MeshPlan(standings=Enrolled(store) if store else AlwaysOpen(), **settings)


_stores: list[CredentialStore] = []
_services: list[Services] = []


def _say(**words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def _events(mesh: ZenohMesh) -> None:
    async for event in mesh.events():
        _say(event=[event.member.name, event.joined])


async def _obey(mesh: ZenohMesh, words: dict[str, Any]) -> None:
    ticket = words["ticket"]
    try:
        if words["do"] == "call":
            await _call(mesh, words)
        else:
            _say(ticket=ticket, answer=await _ACTIONS[words["do"]](mesh, words.get("to", "")))
    except MegaError as error:
        _say(ticket=ticket, error=[type(error).__name__, str(error), error.hint])


async def _members(mesh: ZenohMesh, _: str) -> object:
    return [msgspec.to_builtins(member) for member in mesh.members()]


async def _status(mesh: ZenohMesh, _: str) -> object:
    return msgspec.to_builtins(mesh.status())


async def _links(mesh: ZenohMesh, _: str) -> object:
    return [msgspec.to_builtins(link) for link in await mesh.links()]


async def _done(_: ZenohMesh, __: str) -> object:
    return _services[0].done


async def _revoke(_: ZenohMesh, issued: str) -> object:
    _stores[0].revoke([msgspec.json.decode(issued, type=Revocation)])
    return None


async def _enrol(_: ZenohMesh, pem: str) -> object:
    _stores[0].save(Credentials.read(pem.encode()))
    return None


async def _leave(_: ZenohMesh, __: str) -> object:
    _stores[0].forget()
    return None


async def _timed(mesh: ZenohMesh, times: str) -> object:
    """Seconds that so many calls to all others took, one after another."""
    names = [member.name for member in mesh.members()]
    found = []
    for _number in range(int(times)):
        started = time.perf_counter()
        ends = [a async for a in mesh.call(names, "note", b"", timeout_s=30) if a.ending is not None]
        found.append(time.perf_counter() - started)
        assert len(ends) == len(names)
    return found


_ACTIONS: dict[str, Callable[[ZenohMesh, str], Awaitable[object]]] = {
    "members": _members,
    "status": _status,
    "links": _links,
    "done": _done,
    "revoke": _revoke,
    "timed": _timed,
    "enrol": _enrol,
    "leave": _leave,
    "dial": ZenohMesh.dial,
    "hangup": ZenohMesh.hangup,
}


async def _call(mesh: ZenohMesh, words: dict[str, Any]) -> None:
    ticket, left = words["ticket"], words["take"]
    request = base64.b64decode(words["request"])
    call = mesh.call(words["targets"], words["service"], request, timeout_s=words["timeout_s"])
    async with contextlib.aclosing(call) as arrivals:  # type: ignore[type-var]
        async for arrival in arrivals:
            payload = base64.b64encode(arrival.payload).decode()
            end = [arrival.ending, arrival.error, arrival.hint, arrival.kind]
            _say(ticket=ticket, arrival=[arrival.host, payload, *end])
            left -= 1
            if left == 0:
                break
    _say(ticket=ticket, answer=None)


class MeshNode:
    """A node, as the test holds it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.events: list[tuple[str, bool]] = []
        self._answers: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._ticket = 0

    async def start(self, prefix: Sequence[str], settings: Mapping[str, object]) -> None:
        """Start it where `prefix` puts it."""
        self.process = await asyncio.create_subprocess_exec(
            *[*prefix, sys.executable, "-m", "tests.support.mesh_node", json.dumps(settings)],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 26,
            start_new_session=True,
            cwd=Path(__file__).parents[2],
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            words = json.loads(line)
            if "event" in words:
                self.events.append((words["event"][0], words["event"][1]))
            else:
                self._answers[words["ticket"]].put_nowait(words)
        for queue in self._answers.values():
            queue.put_nowait({"error": ["gone", f"node {self.name} is gone", ""]})

    async def ask(self, action: str, **words: object) -> Any:
        """One request, one answer; raises RuntimeError with what the node raised."""
        async for answer in self._asked(action, words):
            if "error" in answer:
                raise RuntimeError(*answer["error"])
            return answer["answer"]
        raise AssertionError

    async def members(self) -> list[str]:
        """The names of the others."""
        return [member["name"] for member in await self.ask("members")]

    async def done(self) -> list[str]:
        """What its services noted."""
        found: list[str] = await self.ask("done")
        return found

    async def dial(self, address: str) -> None:
        """As `Mesh.dial`."""
        await self.ask("dial", to=address)

    async def hangup(self, name: str) -> None:
        """As `Mesh.hangup`."""
        await self.ask("hangup", to=name)

    async def call(
        self, targets: Sequence[str], service: str, request: bytes = b"", *, timeout_s: float = 20.0, take: int = -1
    ) -> AsyncIterator[Arrival]:
        """As `Mesh.call`; with `take`, the node closes the iterator after so many arrivals."""
        words = {"targets": list(targets), "service": service, "timeout_s": timeout_s, "take": take}
        words["request"] = base64.b64encode(request).decode()
        async for answer in self._asked("call", words):
            if "arrival" not in answer:
                return
            host, payload, ending, *rest = answer["arrival"]
            yield Arrival(host, base64.b64decode(payload), Ending(ending) if ending else None, *rest)

    async def _asked(self, action: str, words: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        self._ticket += 1
        ticket = self._ticket
        queue = self._answers[ticket] = asyncio.Queue()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": action, "ticket": ticket, **words}).encode() + b"\n")
        try:
            while True:
                yield await queue.get()
        finally:
            del self._answers[ticket]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()

    async def gone(self) -> None:
        """Wait until it has ended and all it said was read."""
        await self.process.wait()
        await self._reader

    async def end(self) -> None:
        """Leave and be gone."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
        await self.gone()


if __name__ == "__main__":
    asyncio.run(_main(json.loads(sys.argv[1])))
