"""The command power driver: a line of the configuration for each action; `power.fleet` chooses it.

Whatever the site has (a script, powerbot, wakeonlan, virsh) becomes a driver this way. `status` is read from the last
word `on` or `off` the command prints. A missing `cycle` is off and on.
"""

from __future__ import annotations

import re
import time

from megatools.hostkit import proc
from megatools.hostkit.errors import InvalidInput
from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power.driver import Action, Power
from megatools.igor.power.template import words_for

_STATE = re.compile(r"\b(on|off)\b", re.IGNORECASE)


class CommandPower:
    """Power through the site's own commands."""

    def __init__(self, config: PowerConfig) -> None:
        self._templates = {
            Action.ON: config.on,
            Action.OFF: config.off,
            Action.CYCLE: config.cycle,
            Action.STATUS: config.status,
        }

    async def act(self, host: Host, action: Action, *, timeout_s: float) -> Power:
        """See PowerDriver; the power afterwards is what the `status` command says, if there is one."""
        deadline = time.monotonic() + timeout_s
        if action is Action.CYCLE and not self._templates[Action.CYCLE]:
            await self._run(host, Action.OFF, deadline)
            await self._run(host, Action.ON, deadline)
        elif action is not Action.STATUS:
            await self._run(host, action, deadline)
        elif not self._templates[Action.STATUS]:
            raise InvalidInput("the power driver has no status command", hint="set power.status in igor.conf")
        if not self._templates[Action.STATUS]:
            return Power.UNKNOWN
        return state_in(await self._run(host, Action.STATUS, deadline))

    async def _run(self, host: Host, action: Action, deadline: float) -> str:
        template = self._templates[action]
        if not template:
            raise InvalidInput(
                f'the power driver has no command for "{action.value}"', hint=f"set power.{action.value} in igor.conf"
            )
        words = words_for(template, host, action.value)
        done = await proc.run(words, timeout_s=max(0.1, deadline - time.monotonic()))
        return done.text


def state_in(text: str) -> Power:
    """The power a status command speaks of: its last word `on` or `off`."""
    words = _STATE.findall(text)
    return Power(words[-1].lower()) if words else Power.UNKNOWN
