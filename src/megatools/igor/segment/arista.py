"""The Arista segment driver: the switch's eAPI (JSON-RPC 2.0 `runCmds` over HTTP), one request for all ports.

With `tunnel` a port carries whatever VLANs its node uses inside the reservation's one (`switchport mode dot1q-tunnel`),
as igor 2 did; else it is a plain access port of it. Ports are checked before they become commands: a line break would
be another command.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from megatools.hostkit import https
from megatools.hostkit.errors import CommandFailed, InvalidInput, PermissionDenied, ProtocolError
from megatools.igor.model.config import SegmentConfig
from megatools.igor.segment.driver import MAX_VLAN, MIN_VLAN, Port

_PORT = re.compile(r"(?:Ethernet|Et|Port-Channel|Po)[0-9]+(?:/[0-9]+){0,3}", re.IGNORECASE)
_PATH = "/command-api"


class _Error(msgspec.Struct):
    code: int
    message: str


class _Reply(msgspec.Struct):
    error: _Error | None = None
    result: list[dict[str, object]] | None = None


class AristaSegment:
    """Separation through one Arista switch."""

    def __init__(self, config: SegmentConfig, password: str) -> None:
        url = urlsplit(config.url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise InvalidInput(
                f'"{config.url}" is not the address of a switch', hint="set segment.url to https://SWITCH"
            )
        self._url = config.url if url.path.strip("/") else config.url.rstrip("/") + _PATH
        self._config, self._password = config, password

    async def join(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """See SegmentDriver."""
        await self._send(join_commands(ports, vlan, tunnel=self._config.tunnel), timeout_s)

    async def leave(self, ports: Sequence[Port], vlan: int, *, timeout_s: float) -> None:
        """See SegmentDriver."""
        await self._send(leave_commands(ports), timeout_s)

    async def _send(self, commands: list[str], timeout_s: float) -> None:
        answer = await asyncio.to_thread(
            https.ask,
            "POST",
            self._url,
            body=request(commands),
            headers=_authorization(self._config.user, self._password),
            timeout_s=timeout_s,
            trust=https.Trust(verify=self._config.verify, ca=self._config.ca),
        )
        if answer.status in (401, 403):
            raise PermissionDenied(f'the switch at "{self._url}" refuses the user "{self._config.user}"')
        if answer.status != 200:
            raise ProtocolError(f'the switch at "{self._url}" answered {answer.status}')
        check(answer.body, self._url, len(commands))


def _authorization(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"} if user else {}


def join_commands(ports: Sequence[Port], vlan: int, *, tunnel: bool) -> list[str]:
    """The commands that put ports into a VLAN, which is made if need be."""
    if not MIN_VLAN <= vlan <= MAX_VLAN:
        raise InvalidInput(f"VLAN {vlan} is outside {MIN_VLAN}..{MAX_VLAN}")
    mode = "switchport mode dot1q-tunnel" if tunnel else "switchport mode access"
    body = [line for port in ports for line in (_interface(port), mode, f"switchport access vlan {vlan}")]
    return ["enable", "configure", f"vlan {vlan}", *body]


def leave_commands(ports: Sequence[Port]) -> list[str]:
    """The commands that give ports back to the switch's default VLAN and mode."""
    body = [line for port in ports for line in (_interface(port), "no switchport access vlan", "no switchport mode")]
    return ["enable", "configure", *body]


def _interface(port: Port) -> str:
    if not _PORT.fullmatch(port.name):
        raise InvalidInput(
            f'node "{port.node}" is at "{port.name}", which is not a switch port', hint="set its port with igor nodes"
        )
    return f"interface {port.name}"


def request(commands: Sequence[str]) -> bytes:
    """The body of one `runCmds` request."""
    parameters = {"version": 1, "cmds": list(commands), "format": "json"}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "runCmds", "params": parameters, "id": "igor"})


def check(body: bytes, url: str, count: int) -> None:
    """Raise CommandFailed for an error the switch reports, ProtocolError for an answer that is none."""
    try:
        reply = msgspec.json.decode(body, type=_Reply)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ProtocolError(f'the switch at "{url}" did not answer as eAPI does') from error
    if reply.error is not None:
        raise CommandFailed(f'the switch at "{url}" refused: {reply.error.message} ({reply.error.code})')
    if reply.result is None or len(reply.result) != count:
        raise ProtocolError(f'the switch at "{url}" answered fewer commands than the {count} it was sent')
