"""Classic words for host taps, bridges and DHCP servers: `host_tap`, `bridge_info`, `dhcp` (spec A.0, A.2).

`host_tap` goes by the shape of its arguments, because three generations of the program differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from megatools.minimega.commands.classic.table import (
    Arguments,
    Row,
    Special,
    answers,
    cells,
    make_family,
    malformed,
    target,
    word,
    words,
)
from megatools.minimega.commands.services import Cmd
from megatools.minimega.lang.answer import Table
from megatools.minimega.lang.quote import join_words, quote

_USAGE = "host_tap [create] [bridge] <vlan> <address/bits|dhcp|none> [tap name]"


def _create(vlan: str, address: str, *, bridge: str = "", name: str = "") -> str:
    line = ["tap", "create", vlan]
    if bridge:
        line += ["bridge", bridge]
    if address == "dhcp":
        line.append("dhcp")
    elif address == "none":
        line += ["name"] if name else []
    else:
        line += ["ip", address]
    return join_words([*line, name] if name else line)


def tap_line(arguments: tuple[str, ...]) -> str:
    """The modern line for the words after `host_tap create`, or after `host_tap` in the oldest form."""
    match arguments:
        case (vlan, address):
            return _create(vlan, address)
        case (first, second, third):
            if first.isdigit():
                return _create(first, second, name=third)
            return _create(second, third, bridge=first)
        case (bridge, vlan, address, name):
            return _create(vlan, address, bridge=bridge, name=name)
        case _:
            raise malformed(_USAGE)


def _host_tap(arguments: Arguments) -> str:
    return tap_line((word(arguments, "vlan"), *words(arguments, "address")))


async def _taps(call: Cmd, _arguments: Arguments) -> AsyncIterator[Table]:
    rows = cells(await answers(call, "tap"))
    header = ("bridge", "tap", "vlan", "option")
    yield Table(header, tuple(tuple(row.get(column, "") for column in header) for row in rows))


async def _bridges(call: Cmd, _arguments: Arguments) -> AsyncIterator[Table]:
    rows = cells(await answers(call, "bridge"))
    yield Table(
        ("Bridge", "Exists", "Existed before minimega", "Active VLANS"),
        tuple((row["bridge"], "true", row["preexisting"], row["vlans"].replace(", ", " ")) for row in rows),
    )


ROWS: tuple[Row | Special, ...] = (
    Special("host_tap", _taps, "list host taps"),
    Row(
        "host_tap <vlan> <address or dhcp>...",
        _host_tap,
        "give this host an address on a network: host_tap <vlan> <address/bits|dhcp>",
    ),
    Row(
        "host_tap create <words>...",
        lambda arguments: tap_line(words(arguments, "words")),
        "the same: host_tap create [bridge] <vlan> <address/bits|dhcp|none> [tap name]",
    ),
    Row(
        "host_tap delete <tap>",
        lambda arguments: f"tap delete {quote(target(word(arguments, 'tap')))}",
        "delete a host tap, or all with -1",
    ),
    Row("clear host_tap", "tap delete all", "delete all host taps"),
    Special("bridge_info", _bridges, "list bridges"),
    Row("dnsmasq kill -1", "dnsmasq kill all", "stop all DHCP servers", exact=False),
    Row("dhcp", "dnsmasq", "list DHCP servers"),
    Row(
        "dhcp start <listen> <low> <high> [config]",
        "dnsmasq start {listen} {low} {high} {config}",
        "start a DHCP server",
    ),
    Row("dhcp start <config>", "dnsmasq start {config}", "start a DHCP server from a file"),
    Row(
        "dhcp kill <id>", lambda arguments: f"dnsmasq kill {quote(target(word(arguments, 'id')))}", "stop a DHCP server"
    ),
)
family = make_family("classic network", "Classic words: networks", ROWS)
