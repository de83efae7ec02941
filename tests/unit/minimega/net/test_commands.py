"""Every documented form of the network commands becomes the operation it means."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.commands import bridges, dnsmasq, taps, vlans
from megatools.minimega.commands.services import Services
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.call import Session
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.operation import HostResult, Operation, Outcome, Request
from megatools.minimega.lang.registry import Registry
from megatools.minimega.net import bridge_operations as bridge_op
from megatools.minimega.net import operations as op

pytestmark = pytest.mark.anyio

LINES: list[tuple[str, Operation]] = [
    ("vlans", op.ListVlans()),
    ("vlans range", op.ShowVlanRange()),
    ("vlans range 10 20", op.SetVlanRange("10", "20")),
    ("vlans add lan 7", op.AddVlan("lan", "7")),
    ("vlans blacklist", op.ListBlacklist()),
    ("vlans blacklist 7", op.BlacklistVlan("7")),
    ("clear vlans", op.ClearVlans()),
    ("clear vlans web", op.ClearVlans("web")),
    ("clear vlans all", op.ClearVlans(everything=True)),
    ("tap", op.ListTaps()),
    ("tap create 1", op.CreateTap("1")),
    ("tap create 1 name x", op.CreateTap("1", name="x")),
    ("tap create 1 dhcp", op.CreateTap("1", option="dhcp")),
    ("tap create 1 dhcp x", op.CreateTap("1", name="x", option="dhcp")),
    ("tap create 1 ip 10.0.0.1/24", op.CreateTap("1", option="10.0.0.1/24")),
    ("tap create 1 ip 10.0.0.1/24 x", op.CreateTap("1", name="x", option="10.0.0.1/24")),
    ("tap create 1 bridge b", op.CreateTap("1", "b")),
    ("tap create 1 bridge b name x", op.CreateTap("1", "b", "x")),
    ("tap create 1 bridge b dhcp", op.CreateTap("1", "b", option="dhcp")),
    ("tap create 1 bridge b dhcp x", op.CreateTap("1", "b", "x", "dhcp")),
    ("tap create 1 bridge b ip 10.0.0.1/24 x", op.CreateTap("1", "b", "x", "10.0.0.1/24")),
    ("tap delete x", op.DeleteTap("x")),
    ("tap delete all", op.DeleteTap("all")),
    ("clear tap", op.DeleteTap("all")),
    ("bridge", bridge_op.ListBridges()),
    ("bridge config b stp_enable=true", bridge_op.ConfigureBridge("b", "stp_enable=true")),
    ("bridge destroy b", bridge_op.DestroyBridge("b")),
    ("bridge trunk b eth1", bridge_op.AddTrunk("b", "eth1")),
    ("bridge notrunk b eth1", bridge_op.RemoveTrunk("b", "eth1")),
    ("bridge tunnel vxlan b 10.0.0.2", bridge_op.AddTunnel(TunnelKind.VXLAN, "b", "10.0.0.2")),
    ("bridge tunnel gre b 10.0.0.2 7", bridge_op.AddTunnel(TunnelKind.GRE, "b", "10.0.0.2", "7")),
    ("bridge notunnel b t0", bridge_op.RemoveTunnel("b", "t0")),
    ("dnsmasq", op.ListDhcp()),
    ("dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.254", op.StartDhcp("10.0.0.1", "10.0.0.2", "10.0.0.254")),
    ("dnsmasq start 10.0.0.1 10.0.0.2 10.0.0.9 /f", op.StartDhcp("10.0.0.1", "10.0.0.2", "10.0.0.9", "/f")),
    ("dnsmasq start /f", op.StartDhcp(config="/f")),
    ("dnsmasq kill 0", op.KillDhcp("0")),
    ("dnsmasq kill all", op.KillDhcp("all")),
    ("dnsmasq configure 0 ip", op.ListDhcpLive("0", "static")),
    (
        "dnsmasq configure 0 ip 52:54:00:00:00:01 1.2.3.4",
        op.AddDhcpLive("0", "static", ("52:54:00:00:00:01", "1.2.3.4")),
    ),
    ("dnsmasq configure 0 dns", op.ListDhcpLive("0", "dns")),
    ("dnsmasq configure all dns 1.2.3.4 web", op.AddDhcpLive("all", "dns", ("1.2.3.4", "web"))),
    ("dnsmasq configure 0 dns upstream", op.ListDhcpLive("0", "upstream")),
    ("dnsmasq configure 0 dns upstream server 1.1.1.1", op.AddDhcpLive("0", "upstream", ("1.1.1.1",))),
    ("dnsmasq configure 0 options", op.ListDhcpLive("0", "options")),
    ("dnsmasq configure 0 options option:mtu,1400", op.AddDhcpLive("0", "options", ("option:mtu,1400",))),
]


class Asked:
    """Hosts that only note what they are asked."""

    local = "host"

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def stream(self, request: Request) -> AsyncIterator[HostResult]:
        self.requests.append(request)
        yield HostResult("host", Outcome.DONE, Answer())


async def ask(line: str) -> tuple[list[Request], list[str]]:
    hosts = Asked()
    registry = Registry([family.family for family in (vlans, taps, bridges, dnsmasq)])
    interpreter = Interpreter(registry, cast(Services, SimpleNamespace(hosts=hosts)), host="host")
    errors: list[str] = []
    async for output in interpreter.execute(line, Session(namespace="ns")):
        errors += [response.error for response in output.group or [] if response.error]
    return hosts.requests, errors


@pytest.mark.parametrize(("line", "operation"), LINES, ids=[line for line, _ in LINES])
async def test_line(line: str, operation: Operation) -> None:
    assert await ask(line) == ([Request("ns", operation)], [])
