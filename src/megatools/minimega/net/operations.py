"""What hosts can be asked to do with networks, and which function does it.

Commands and pages make these; `app` registers `handlers(stack)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from megatools.hostkit.dnsmasq.config import Live
from megatools.minimega.lang.answer import Answer, Table, rows_table
from megatools.minimega.lang.operation import Handlers, Operation, Reach
from megatools.minimega.net.bridge_operations import bridge_handlers
from megatools.minimega.net.dhcp import Dhcp, DhcpRow
from megatools.minimega.net.host_taps import HostTaps
from megatools.minimega.net.ports import DEFAULT_BRIDGE
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.net.vlans import RangeRow, VlanRow, Vlans


class ListVlans(Operation, frozen=True):
    """List the namespace's VLAN aliases."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True


class AddVlan(Operation, frozen=True):
    """Give a VLAN number a name."""

    reach: ClassVar[Reach] = Reach.LOCAL

    alias: str
    vlan: str


class ShowVlanRange(Operation, frozen=True):
    """Show the range names get their numbers from."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True


class SetVlanRange(Operation, frozen=True):
    """Set the range, `high` not included."""

    reach: ClassVar[Reach] = Reach.LOCAL

    low: str
    high: str


class ListBlacklist(Operation, frozen=True):
    """List the VLAN numbers that are never handed out."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True


class BlacklistVlan(Operation, frozen=True):
    """Never hand out a VLAN number."""

    reach: ClassVar[Reach] = Reach.LOCAL

    vlan: str


class ClearVlans(Operation, frozen=True):
    """Drop aliases by prefix; without one also the range and blacklist; `everything`: of all namespaces."""

    reach: ClassVar[Reach] = Reach.LOCAL

    prefix: str | None = None
    everything: bool = False


class ListTaps(Operation, frozen=True):
    """List the namespace's host taps."""

    reach: ClassVar[Reach] = Reach.NAMESPACE_AND_LOCAL
    reads: ClassVar[bool] = True


class CreateTap(Operation, frozen=True):
    """Make a host tap; `option`: empty, `dhcp` or an address with its prefix length."""

    reach: ClassVar[Reach] = Reach.LOCAL

    vlan: str
    bridge: str = ""
    name: str = ""
    option: str = ""


class DeleteTap(Operation, frozen=True):
    """Remove a host tap, or `all` of the namespace."""

    reach: ClassVar[Reach] = Reach.LOCAL

    target: str


class ListDhcp(Operation, frozen=True):
    """List the namespace's DHCP servers."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True


class StartDhcp(Operation, frozen=True):
    """Start a DHCP server; without `listen` from the config file alone."""

    reach: ClassVar[Reach] = Reach.LOCAL

    listen: str = ""
    low: str = ""
    high: str = ""
    config: str = ""


class KillDhcp(Operation, frozen=True):
    """End a DHCP server by id, or `all` of the namespace."""

    reach: ClassVar[Reach] = Reach.LOCAL

    target: str


class ListDhcpLive(Operation, frozen=True):
    """List what was added to servers: `static`, `dns`, `upstream` or `options`."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True

    target: str
    what: str


class AddDhcpLive(Operation, frozen=True):
    """Add to servers while they run: `what` as in `ListDhcpLive`, with its values."""

    reach: ClassVar[Reach] = Reach.LOCAL

    target: str
    what: str
    values: tuple[str, ...]


class _TapRow(msgspec.Struct, frozen=True):
    bridge: str
    tap: str
    vlan: str
    option: str


class _BlacklistRow(msgspec.Struct, frozen=True):
    vlan: int


_LIVE_HEADERS = {
    "static": ("id", "mac", "ip"),
    "dns": ("id", "ip", "hostname"),
    "upstream": ("id", "upstream server"),
    "options": ("id", "option"),
}


def handlers(stack: NetworkStack) -> Handlers:
    """The functions that carry these operations out on this host."""
    return {
        **_vlan_handlers(stack.vlans),
        **_tap_handlers(stack.host_taps, stack.vlans),
        **bridge_handlers(stack),
        **_dhcp_handlers(stack.dhcp),
    }


def _vlan_handlers(vlans: Vlans) -> Handlers:
    async def list_vlans(namespace: str, _: ListVlans) -> Answer:
        return Answer(table=rows_table(VlanRow, vlans.rows(namespace)))

    async def add(namespace: str, operation: AddVlan) -> Answer:
        await vlans.add(namespace, operation.alias, operation.vlan)
        return Answer()

    async def show_range(namespace: str, _: ShowVlanRange) -> Answer:
        return Answer(table=rows_table(RangeRow, [vlans.range_row(namespace)]))

    async def set_range(namespace: str, operation: SetVlanRange) -> Answer:
        await vlans.set_range(namespace, operation.low, operation.high)
        return Answer()

    async def list_blacklist(_: str, __: ListBlacklist) -> Answer:
        return Answer(table=rows_table(_BlacklistRow, [_BlacklistRow(number) for number in vlans.blacklisted()]))

    async def blacklist(namespace: str, operation: BlacklistVlan) -> Answer:
        await vlans.blacklist(namespace, operation.vlan)
        return Answer()

    async def clear(namespace: str, operation: ClearVlans) -> Answer:
        if operation.everything:
            await vlans.clear_all()
        else:
            await vlans.clear(namespace, operation.prefix)
        return Answer()

    return {
        ListVlans: list_vlans,
        AddVlan: add,
        ShowVlanRange: show_range,
        SetVlanRange: set_range,
        ListBlacklist: list_blacklist,
        BlacklistVlan: blacklist,
        ClearVlans: clear,
    }


def _tap_handlers(taps: HostTaps, vlans: Vlans) -> Handlers:
    async def list_taps(namespace: str, _: ListTaps) -> Answer:
        rows = [
            _TapRow(tap.bridge, tap.name, vlans.label(namespace, tap.vlan), tap.option) for tap in taps.of(namespace)
        ]
        return Answer(table=rows_table(_TapRow, rows))

    async def create(namespace: str, operation: CreateTap) -> Answer:
        vlan = await vlans.resolve(namespace, operation.vlan)
        bridge = operation.bridge or DEFAULT_BRIDGE
        return Answer(await taps.create(namespace, vlan, bridge, operation.name, operation.option))

    async def delete(namespace: str, operation: DeleteTap) -> Answer:
        await taps.delete(namespace, operation.target)
        return Answer()

    return {ListTaps: list_taps, CreateTap: create, DeleteTap: delete}


def _dhcp_handlers(dhcp: Dhcp) -> Handlers:
    async def list_servers(namespace: str, _: ListDhcp) -> Answer:
        return Answer(table=rows_table(DhcpRow, await dhcp.rows(namespace)))

    async def start(namespace: str, operation: StartDhcp) -> Answer:
        if operation.listen:
            listen, low, high = operation.listen, operation.low, operation.high
            await dhcp.start(namespace, listen=listen, low=low, high=high, config=operation.config)
        else:
            await dhcp.start_file(namespace, operation.config)
        return Answer()

    async def kill(namespace: str, operation: KillDhcp) -> Answer:
        await dhcp.kill(namespace, operation.target)
        return Answer()

    async def list_live(namespace: str, operation: ListDhcpLive) -> Answer:
        lives = await dhcp.live(namespace, operation.target)
        rows = [(str(number), *values) for number, live in lives for values in _live_values(live, operation.what)]
        return Answer(table=Table(_LIVE_HEADERS[operation.what], tuple(rows)))

    async def add_live(namespace: str, operation: AddDhcpLive) -> Answer:
        await _add_live(dhcp, namespace, operation)
        return Answer()

    return {
        ListDhcp: list_servers,
        StartDhcp: start,
        KillDhcp: kill,
        ListDhcpLive: list_live,
        AddDhcpLive: add_live,
    }


async def _add_live(dhcp: Dhcp, namespace: str, operation: AddDhcpLive) -> None:
    target, values = operation.target, operation.values
    match operation.what:
        case "static":
            await dhcp.add_static(namespace, target, values[0], values[1])
        case "dns":
            await dhcp.add_dns(namespace, target, values[0], values[1])
        case "upstream":
            await dhcp.add_upstream(namespace, target, values[0])
        case _:
            await dhcp.add_option(namespace, target, values[0])


def _live_values(live: Live, what: str) -> Sequence[tuple[str, ...]]:
    match what:
        case "static":
            return live.static
        case "dns":
            return live.dns
        case "upstream":
            return [(address,) for address in live.upstream]
        case _:
            return [(option,) for option in live.options]
