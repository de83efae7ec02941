"""What a power driver is: one node, one action, one honest answer. Used by `power.fleet` and by the drivers."""

from __future__ import annotations

import enum
from typing import Protocol

from megatools.hostkit.errors import InvalidInput
from megatools.igor.model.host import Host


class Action(enum.Enum):
    """What is asked of a node's power."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"
    STATUS = "status"


class Power(enum.Enum):
    """What a node's power is, as far as its driver can tell."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class PowerDriver(Protocol):
    """One way to control the power of nodes; it keeps nothing between calls."""

    async def act(self, host: Host, action: Action, *, timeout_s: float) -> Power:
        """Carry out one action on one node and return its power afterwards (UNKNOWN where it cannot be read).

        Raises InvalidInput (the node lacks what the driver needs), CommandFailed, ProtocolError or Unavailable.
        """
        ...


def action_named(word: str) -> Action:
    """The action a user names; raises InvalidInput."""
    try:
        return Action(word)
    except ValueError:
        raise InvalidInput(
            f'"{word}" is not a power action', hint=f"actions are {', '.join(action.value for action in Action)}"
        ) from None


def wanted(action: Action) -> Power:
    """The power a node has once the action succeeded; UNKNOWN when there is nothing to wait for."""
    match action:
        case Action.ON | Action.CYCLE:
            return Power.ON
        case Action.OFF:
            return Power.OFF
        case Action.STATUS:
            return Power.UNKNOWN
