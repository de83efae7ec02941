"""What the demo proves with `--once`: states, leases, pings, the page, and a console one can type into."""

from __future__ import annotations

import asyncio
import http.client
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, Unavailable
from megatools.hostkit.qemu.agent import Agent
from megatools.hostkit.rfb import RETURN, Client, Picture, changed_region, dial_websocket

_HTTP_S = 20.0
_AGENT_S = 60.0
_SCREEN_S = 60.0
_PING_S = 30.0
_GLYPH_PX = 8  # a character of the VGA text screen is at least this wide


class Proof:
    """Holds the rows of `vm info`, the pages' URL and the base directory against the real world."""

    def __init__(self, rows: Sequence[dict[str, str]], url: str, base: Path, say: Callable[[str], None]) -> None:
        self._rows = rows
        self._url = url
        self._base = base
        self._say = say

    async def hold(self) -> None:
        """Raise CommandFailed or Unavailable for the first thing that is not so."""
        self._running()
        await self._pings()
        Page(self._url, self._say).prove()
        await self._console()

    def _running(self) -> None:
        states = [row["state"] for row in self._rows]
        if states != ["RUNNING"] * len(self._rows):
            raise CommandFailed(f"not all VMs are RUNNING: {', '.join(states)}")
        self._say(f"verified: {len(states)} VMs RUNNING, each with a lease")

    async def _pings(self) -> None:
        addresses = [row["ip"].strip("[]") for row in self._rows]
        async with asyncio.TaskGroup() as group:
            for address in addresses:
                group.create_task(proc.run(["ping", "-c", "1", "-W", "10", address], timeout_s=15))
        self._say(f"verified: {len(addresses)} pings answered ({', '.join(addresses)})")

    async def _console(self) -> None:
        row = self._rows[0]
        word = await prove_console(self._url, row["name"], self._base / row["id"] / "cc")
        self._say(f'verified: "{word}" typed into the console of {row["name"]} is on its screen and in the guest')


class Page:
    """The pages at an address with its token."""

    def __init__(self, url: str, say: Callable[[str], None]) -> None:
        self._url = url
        self._say = say

    def prove(self) -> None:
        """They are served, and only with the token. Raises CommandFailed."""
        target = urlsplit(self._url)
        cookie = self._visit(f"{target.path}?{target.query}", "", (302, 303, 307, 200)).getheader("Set-Cookie") or ""
        page = self._visit(target.path or "/", cookie.partition(";")[0], (200,))
        if b"<html" not in page.read().lower():
            raise CommandFailed(f'"{self._url}" serves no page')
        self._visit(target.path or "/", "", (401,))
        self._say("verified: the page is served, and only with its token")

    def _visit(self, path: str, cookie: str, wanted: tuple[int, ...]) -> http.client.HTTPResponse:
        target = urlsplit(self._url)
        connection = http.client.HTTPConnection(target.hostname or "localhost", target.port, timeout=_HTTP_S)
        connection.request("GET", path, headers={"Cookie": cookie} if cookie else {})
        response = connection.getresponse()
        if response.status not in wanted:
            raise CommandFailed(f'"{path}" answers {response.status}, not {" or ".join(map(str, wanted))}')
        return response


async def prove_console(url: str, vm: str, agent_socket: Path) -> str:
    """Type a fresh random word through the websocket of a VM's page, and find it on the screen and in the guest.

    The guest must sit at a shell on its screen and run the guest agent. Returns the word; raises Unavailable.
    """
    word = secrets.token_hex(6)
    target = urlsplit(url)
    token = parse_qs(target.query)["token"][0]
    pipe = await dial_websocket(f"ws://{target.netloc}/vm/{vm}/connect/ws", token=token)
    async with await Client.connect(pipe) as screen:
        await screen.press(RETURN)
        before = await screen.refresh()
        await screen.type_text(f"echo {word} > /tmp/{word}\n")
        await screen.wait_for(lambda picture: _wrote(before, picture, len(word)), timeout_s=_SCREEN_S)
    async with await Agent.connect(agent_socket, timeout_s=_AGENT_S) as agent:
        await _read_back(agent, word)
    return word


async def prove_ping(agent_socket: Path, address: str) -> None:
    """Ping an address from within a guest that runs the guest agent. Raises Unavailable when nothing answers."""
    deadline = asyncio.get_running_loop().time() + _PING_S
    async with await Agent.connect(agent_socket, timeout_s=_AGENT_S) as agent:
        while True:
            done = await agent.run("/usr/bin/busybox", "ping", "-c", "1", "-W", "2", address)
            if done.status == 0:
                return
            if asyncio.get_running_loop().time() > deadline:
                said = (done.stdout + done.stderr).decode(errors="replace").strip()
                raise Unavailable(f"{address} answers no ping from the guest within {_PING_S:g} s: {said}")


async def _read_back(agent: Agent, word: str) -> None:
    deadline = asyncio.get_running_loop().time() + _AGENT_S
    while True:  # keys travel through an emulated keyboard: the guest's shell may still be reading them
        found = await agent.run("/bin/cat", f"/tmp/{word}")  # noqa: S108 a path inside the guest
        if found.stdout.decode(errors="replace").strip() == word:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise Unavailable(f'the guest did not get "{word}": {found.stderr.decode(errors="replace").strip()}')


def _wrote(before: Picture, after: Picture, letters: int) -> bool:
    region = changed_region(before, after)
    return region is not None and region.right - region.left >= letters * _GLYPH_PX
