"""Network interfaces as text: `[bridge,]<vlan>[,mac][,driver][,qinq]` (spec B.11). Pure.

What a field is, is seen by its form: a MAC by its syntax, a driver because QEMU knows it (or the built-in list does,
D.9), `qinq` by the word; of the one or two others the last is the VLAN.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from megatools.hostkit.errors import InvalidInput
from megatools.minimega.vm.config import DEFAULT_BRIDGE, DEFAULT_NIC_DRIVER, NicSpec

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{4}\.){2}[0-9a-fA-F]{4}")
_HINT = "write it as [bridge,]<vlan>[,mac][,driver][,qinq], for example LAN or br0,100,virtio-net-pci"
_MOST_VLAN = 4095


def is_mac(text: str) -> bool:
    """Whether a text has the form of a MAC: pairs joined by `:` or `-`, or groups of four by `.`."""
    return _MAC.fullmatch(text) is not None


def normal_mac(text: str) -> str:
    """A MAC as lower-case pairs joined by `:`. Raises InvalidInput, also for group (multicast) addresses."""
    if not is_mac(text):
        raise InvalidInput(f"Not a valid mac address: {text}", hint="six pairs of hex digits, like 00:15:17:00:00:01")
    digits = re.sub(r"[^0-9a-f]", "", text.lower())
    if int(digits[:2], 16) & 1:
        raise InvalidInput(f"Not a valid mac address: {text}", hint="its first byte is odd: that is a group address")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def parse_netspec(text: str, drivers: Collection[str]) -> NicSpec:
    """An interface from its text. Raises InvalidInput (`malformed netspec`) saying what is wrong."""
    fields = [field.strip() for field in text.split(",")]
    if not all(fields):
        raise _malformed(text, "a field is empty")
    qinq = len(fields) > 1 and fields[-1].lower() == "qinq"
    fields = fields[:-1] if qinq else fields
    driver = fields.pop() if len(fields) > 1 and fields[-1] in drivers else ""
    mac = normal_mac(fields.pop()) if len(fields) > 1 and is_mac(fields[-1]) else ""
    match fields:
        case [vlan]:
            bridge = ""
        case [bridge, vlan]:
            bridge = "" if bridge == DEFAULT_BRIDGE else bridge
        case _:
            raise _malformed(text, f'"{fields[-1]}" is neither a MAC nor a driver this QEMU knows')
    _check_vlan(text, vlan)
    return NicSpec(vlan, bridge, mac, "" if driver == DEFAULT_NIC_DRIVER else driver, qinq)


def show_netspec(spec: NicSpec) -> str:
    """The text of an interface, defaults left out."""
    parts = (spec.bridge, spec.vlan, spec.mac, spec.driver, "qinq" if spec.qinq else "")
    return ",".join(part for part in parts if part)


def _check_vlan(text: str, vlan: str) -> None:
    if re.fullmatch(r"[+-]?[0-9]+", vlan) and not 0 <= int(vlan) <= _MOST_VLAN:
        raise InvalidInput(
            f'malformed netspec "{text}": vlan {vlan} is out of range', hint=f"0 to {_MOST_VLAN}, or a name"
        )
    if is_mac(vlan):
        raise _malformed(text, "it names no vlan")
    if ":" in vlan:  # a MAC mistyped would silently become an alias
        raise _malformed(text, f'"{vlan}" is neither a MAC, which has six pairs of hex digits, nor a vlan')


def _malformed(text: str, why: str) -> InvalidInput:
    return InvalidInput(f'malformed netspec "{text}": {why}', hint=_HINT)
