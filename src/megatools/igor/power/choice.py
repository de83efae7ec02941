"""The power drivers there are, by name, for a configuration; `run` and `api` call it."""

from __future__ import annotations

from collections.abc import Mapping

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.files import read_secret
from megatools.igor.model.config import PowerConfig
from megatools.igor.power.command import CommandPower
from megatools.igor.power.driver import PowerDriver
from megatools.igor.power.ipmi import IpmiPower
from megatools.igor.power.redfish import RedfishPower

NONE = "none"
NAMES = (NONE, "command", "ipmi", "redfish")


def drivers_for(config: PowerConfig) -> Mapping[str, PowerDriver]:
    """Every driver by name, and the configured one as ""; no "" when that is `none`.

    Raises InvalidInput (no such driver), NotFound or PermissionDenied (the password file).
    """
    if config.driver not in NAMES:
        raise InvalidInput(f'"{config.driver}" is not a power driver', hint=f"drivers are {', '.join(NAMES)}")
    password = read_secret(config.password_file) if config.password_file else ""
    drivers: dict[str, PowerDriver] = {
        "command": CommandPower(config),
        "ipmi": IpmiPower(config, password),
        "redfish": RedfishPower(config, password),
    }
    if config.driver != NONE:
        drivers[""] = drivers[config.driver]
    return drivers
