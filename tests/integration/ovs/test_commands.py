"""The network commands on a real switch and a real dnsmasq, as a user types them."""

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import cast

import pytest

from megatools.hostkit import taps as interfaces
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.commands import bridges, dnsmasq, taps, vlans
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.answer import Response
from megatools.minimega.lang.call import Session
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.registry import Registry
from megatools.minimega.net.operations import handlers
from megatools.minimega.net.stack import NetworkStack
from tests.support.requires import requires

pytestmark = [pytest.mark.anyio, pytest.mark.root, requires("ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "dnsmasq")]


def prompt(stack: NetworkStack) -> Callable[..., Awaitable[Response]]:
    """A function that runs a line and returns its one response."""
    services = cast(Services, SimpleNamespace(hosts=LocalHosts("host", handlers(stack))))
    registry = Registry([family.family for family in (vlans, taps, bridges, dnsmasq)])
    interpreter = Interpreter(registry, services, host="host")

    async def typed(line: str, namespace: str = "minimega") -> Response:
        found = [output.group async for output in interpreter.execute(line, Session(namespace=namespace))]
        (group,) = found
        assert group is not None
        (response,) = group
        return response

    return typed


async def test_a_day_at_the_prompt(base, opened) -> None:
    async with opened() as stack:
        typed = prompt(stack)
        listing = await typed("bridge")
        assert listing.header == ["bridge", "preexisting", "vlans", "trunks", "tunnels", "bonds", "config"]
        assert listing.tabular == []  # listing makes nothing
        assert (await typed("tap create 1 ip 10.0.0.1/24")).response == "mega_tap0"
        assert (await typed("tap create lan name side")).response == "side"
        assert (await typed("dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254")) == Response("host")
        listing = await typed("tap")
        assert listing.header == ["bridge", "tap", "vlan", "option"]
        assert listing.tabular == [
            ["mega_bridge", "mega_tap0", "1", "10.0.0.1/24"],
            ["mega_bridge", "side", "lan (101)", ""],
        ]
        assert (await typed("tap", "other")).tabular == []
        listing = await typed("dnsmasq")
        assert listing.header == ["id", "address", "min", "max", "path", "pid"]
        assert listing.tabular is not None
        assert listing.tabular[0][:4] == ["0", "10.0.0.1", "10.0.0.2", "10.0.0.254"]
        assert (await typed("bridge")).tabular == [["mega_bridge", "false", "[1, lan (101)]", "[]", "[]", "[]", "{}"]]
        assert (await typed("vlans")).tabular == [["lan", "101"]]
        await typed("dnsmasq configure all dns upstream server 10.0.0.9")
        listing = await typed("dnsmasq configure 0 dns upstream")
        assert (listing.header, listing.tabular) == (["id", "upstream server"], [["0", "10.0.0.9"]])
        await typed("clear tap")
        assert interfaces.names() == {"lo", "mega_bridge", "ovs-netdev"}


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("tap create 4096", "invalid VLAN (0 <= vlan < 4096)"),
        ("tap create 1 ip 10.0.0.0", 'address "10.0.0.0" has no prefix length'),
        ("tap create 1 name waytoolongforatap", 'tap name "waytoolongforatap" has 17 characters, allowed are 1 to 15'),
        ("tap create 1 bridge 'a b'", 'bridge name "a b" has characters other than letters, digits, "_", "-" and "."'),
        ("tap delete nothing", "unknown tap"),
        ("dnsmasq kill 7", "invalid id"),
        ("dnsmasq configure 7 ip", "invalid dnsmasq ID"),
        ("dnsmasq start frog 10.0.0.2 10.0.0.3", 'invalid IP address "frog"'),
        ("bridge destroy nothing", "bridge not found: nothing"),
        ("bridge config b nothing", "expected key=value"),
        ("vlans range 9 8", "expected min > max"),
        ("vlans add a b", "expected integer VLAN"),
    ],
)
async def test_bad_input_is_one_clear_error_and_changes_nothing(base, opened, line: str, error: str) -> None:
    async with opened() as stack:
        response = await prompt(stack)(line)
        first = response.error.splitlines()[0]
        assert first == error or first.startswith(f"{error}: ")
        assert interfaces.names() == {"lo"}
        assert not (base / "ovs").exists()
