"""A node of the cluster and what is known about it; any part of igor may use it."""

from __future__ import annotations

import enum

import msgspec

from megatools.hostkit.errors import InvalidInput


class BootMode(enum.Enum):
    """How a node's firmware boots from the network."""

    BIOS = "bios"
    UEFI = "uefi"
    HTTP = "http"


class Host(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node. What is unknown is empty: without a MAC its boot file is named by its address (2013 layout).

    `mac` is written `52:54:00:77:00:01` (lower case); `power` and `power_address` choose and feed a power driver
    (empty: the configuration's default); `port` is what the switch driver calls the node's port; `blocked` says why
    nobody may reserve it; `policy` names an entry of the policy file.
    """

    number: int
    name: str
    mac: str = ""
    ip: str = ""
    boot: BootMode = BootMode.BIOS
    power: str = ""
    power_address: str = ""
    port: str = ""
    blocked: str = ""
    policy: str = ""


def hex_name(ip: str) -> str:
    """The pxelinux file name of an IPv4 address: `10.0.0.91` is `0A00005B`; raises InvalidInput."""
    import ipaddress

    try:
        return f"{int(ipaddress.IPv4Address(ip)):08X}"
    except ValueError as error:
        raise InvalidInput(f'"{ip}" is not an IPv4 address') from error
