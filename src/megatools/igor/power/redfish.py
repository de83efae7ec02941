"""The Redfish power driver: HTTP to a node's controller; `power.fleet` chooses it. DMTF DSP0266, ComputerSystem.Reset.

The address of a node is `HOST[:PORT]` or a URL; a path in it names the system, else the first of `/redfish/v1/Systems`
is taken. One action runs in a thread, with the caller's deadline.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from megatools.hostkit import https
from megatools.hostkit.errors import MegaError, PermissionDenied, ProtocolError, Unavailable
from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power.driver import Action, Power
from megatools.igor.power.ipmi import address_of

_T = TypeVar("_T")
_SYSTEMS = "/redfish/v1/Systems"
_RESET = {Action.ON: "On", Action.OFF: "ForceOff", Action.CYCLE: "ForceRestart"}
_STATES = {"On": Power.ON, "PoweringOn": Power.OFF, "Off": Power.OFF, "PoweringOff": Power.ON}
_ALREADY = {(Action.ON, Power.ON), (Action.OFF, Power.OFF)}


class _System(msgspec.Struct):
    power_state: str = msgspec.field(name="PowerState", default="")


class _Member(msgspec.Struct):
    path: str = msgspec.field(name="@odata.id")


class _Systems(msgspec.Struct):
    members: list[_Member] = msgspec.field(name="Members")


class RedfishPower:
    """Power through Redfish services."""

    def __init__(self, config: PowerConfig, password: str) -> None:
        self._config, self._password = config, password

    async def act(self, host: Host, action: Action, *, timeout_s: float) -> Power:
        """See PowerDriver."""
        address = address_of(host, self._config.address)
        service = _Service(self._config, self._password, address, time.monotonic() + timeout_s)
        return await asyncio.to_thread(service.act, action)


class _Service:
    """One controller, for the length of one action; blocking."""

    def __init__(self, config: PowerConfig, password: str, address: str, deadline: float) -> None:
        url = urlsplit(address if "://" in address else f"https://{address}")
        self._origin, self._path = f"{url.scheme}://{url.netloc}", url.path.rstrip("/")
        self._trust = https.Trust(verify=config.verify, ca=config.ca)
        self._deadline = deadline
        pair = base64.b64encode(f"{config.user}:{password}".encode()).decode()
        self._headers = {"OData-Version": "4.0"} | ({"Authorization": f"Basic {pair}"} if config.user else {})

    def act(self, action: Action) -> Power:
        system = self._path or self._first_system()
        before = self._power(system)
        if action is Action.STATUS or (action, before) in _ALREADY:
            return before
        if action is Action.CYCLE and before is Power.OFF:
            action = Action.ON  # a system that is off refuses to restart
        body = msgspec.json.encode({"ResetType": _RESET[action]})
        self._ask("POST", f"{system}/Actions/ComputerSystem.Reset", body)
        return self._power(system)

    def _first_system(self) -> str:
        systems = self._decoded(_SYSTEMS, _Systems).members
        if not systems:
            raise ProtocolError(f'the Redfish service at "{self._origin}" has no systems')
        return systems[0].path

    def _power(self, system: str) -> Power:
        return _STATES.get(self._decoded(system, _System).power_state, Power.UNKNOWN)

    def _decoded(self, path: str, kind: type[_T]) -> _T:
        body = self._ask("GET", path)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise ProtocolError(f'the Redfish service at "{self._origin}" sent no such object at "{path}"') from error

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise Unavailable(f'the Redfish service at "{self._origin}" took too long')
        url = self._origin + path
        answer = https.ask(method, url, body=body, headers=self._headers, timeout_s=left_s, trust=self._trust)
        if answer.status >= 300:
            raise _refusal(method, url, answer.status)
        return answer.body


def _refusal(method: str, url: str, status: int) -> MegaError:
    text = f'the Redfish service answered {status} to {method} "{url}"'
    if status in (401, 403):
        return PermissionDenied(text, hint="check the user and password of the power driver")
    return ProtocolError(text)
