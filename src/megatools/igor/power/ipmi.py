"""The IPMI power driver: `ipmitool`, one call per action; `power.fleet` chooses it. ipmitool(1), `chassis power`.

The password travels in the environment (`-E`), never in the command line, which everybody on the machine can read.
A node that is off cannot be cycled ("not supported in present state"): it is switched on instead.
"""

from __future__ import annotations

import re
import time

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, InvalidInput, ProtocolError
from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power.driver import Action, Power

PROGRAM = "ipmitool"
_STATUS = re.compile(r"Chassis Power is (on|off)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


class IpmiPower:
    """Power through baseboard management controllers."""

    def __init__(self, config: PowerConfig, password: str) -> None:
        self._config, self._password = config, password

    async def act(self, host: Host, action: Action, *, timeout_s: float) -> Power:
        """See PowerDriver."""
        deadline = time.monotonic() + timeout_s
        address = address_of(host, self._config.address)
        if action is Action.CYCLE and await self._status(address, deadline) is Power.OFF:
            action = Action.ON
        if action is not Action.STATUS:
            await self._run(address, action, deadline)
        return await self._status(address, deadline)

    async def _status(self, address: str, deadline: float) -> Power:
        text = await self._run(address, Action.STATUS, deadline)
        found = _STATUS.search(text)
        if found is None:
            raise ProtocolError(f'the controller at "{address}" said "{text.strip()[:80]}" instead of its power')
        return Power(found[1].lower())

    async def _run(self, address: str, action: Action, deadline: float) -> str:
        left_s = max(0.1, deadline - time.monotonic())
        try:
            done = await proc.run(
                argv(self._config, address, action),
                timeout_s=left_s,
                env={"IPMI_PASSWORD": self._password},
            )
        except CommandFailed as error:
            raise CommandFailed(f'the controller at "{address}" did not take "{action.value}"') from error
        return done.text


def argv(config: PowerConfig, address: str, action: Action) -> list[str]:
    """The command line of one call."""
    found = _ADDRESS.fullmatch(address)
    if found is None or address.startswith("-"):
        raise InvalidInput(f'"{address}" is not the address of a controller', hint="write HOST or HOST:PORT")
    words = [PROGRAM, "-I", config.interface, "-H", found["host"].strip("[]")]
    if found["port"]:
        words += ["-p", found["port"]]
    if config.user:
        words += ["-U", config.user]
    return [*words, "-E", "chassis", "power", action.value]


def address_of(host: Host, template: str) -> str:
    """A node's controller: its own address, or what the template makes of its name; raises InvalidInput."""
    if host.power_address:
        return host.power_address
    if not template:
        raise InvalidInput(
            f'node "{host.name}" has no power address', hint="see igor nodes, or set an address template"
        )
    for hole, value in (("{}", host.name), ("{node}", host.name), ("%s", host.name), ("{number}", str(host.number))):
        template = template.replace(hole, value)
    return template
