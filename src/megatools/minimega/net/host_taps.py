"""Taps through which this host takes part in its VMs' networks: internal ports of the switch, with an address.

Commands reach it through `net.operations`. Each belongs to a namespace. A tap is acknowledged once it is up, addressed
and journaled; when anything fails before, nothing of it is left.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Sequence
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import TypeAlias

import msgspec

from megatools.hostkit import dhcp_client, netlink, proc, taps
from megatools.hostkit.errors import (
    AlreadyExists,
    CommandFailed,
    InvalidInput,
    InvalidState,
    MegaError,
    NotFound,
    chain_text,
)
from megatools.hostkit.ovs.model import NewPort
from megatools.minimega.net.names import check_bridge, check_tap
from megatools.minimega.net.network import HOST_TAP_KIND, Network
from megatools.minimega.net.switch import MARK, Switch
from megatools.minimega.net.vlans import Vlan
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
_GENERATED = re.compile(r"mega_tap[0-9]+")
_ADD_S = 15.0
Cidr: TypeAlias = IPv4Interface | IPv6Interface


class TapRecord(msgspec.Struct, frozen=True):
    """Journal kind `tap`; `option`: empty, `dhcp`, or the address with its prefix; not `ready`: half made."""

    name: str
    namespace: str
    bridge: str
    vlan: int
    option: str
    boot_id: str
    ready: bool


class HostTaps:
    """The host taps of all namespaces."""

    def __init__(self, *, switch: Switch, journal: Journal, network: Network) -> None:
        self._switch = switch
        self._journal = journal
        self._network = network
        self._taps: dict[str, TapRecord] = {}

    async def create(self, namespace: str, vlan: Vlan, bridge: str, name: str = "", option: str = "") -> str:
        """Make a tap on a VLAN and return its name; `option`: empty, `none`, `dhcp`, or an address as 10.0.0.1/24.

        Raises InvalidInput, AlreadyExists (name or subnet), Unavailable (no DHCP server), CommandFailed.
        """
        option = "" if option == "none" else option
        address = None if option in ("", "dhcp") else _parse(option)
        check_bridge(bridge)
        self._check_name(name)
        if address is not None:
            check_subnet(address, netlink.addresses())
        name = name or self._network.new_tap_names(1)[0]
        record = TapRecord(name, namespace, bridge, vlan.number, option, proc.boot_id(), ready=False)
        self._taps[name] = record
        try:
            await self._write(record)
            await self._make(record, address)
            await self._write(msgspec.structs.replace(record, ready=True))
        except BaseException:
            await self._undo(name)
            raise
        return name

    async def delete(self, namespace: str, target: str) -> None:
        """Remove a tap by name, or all of the namespace.

        Raises NotFound (`unknown tap`), InvalidState (`not a host tap`), InvalidInput (another namespace's).
        """
        if target == "all":
            await self._remove([tap.name for tap in self.of(namespace)])
            return
        if target not in self._taps:
            if self._network.is_vm_tap(target):
                raise InvalidState("not a host tap", hint=f'"{target}" belongs to a VM; see vm info')
            raise NotFound("unknown tap", hint=f'no tap "{target}"; see tap')
        if self._taps[target].namespace != namespace:
            owner = self._taps[target].namespace
            raise InvalidInput("not a host tap in active namespace", hint=f'"{target}" belongs to "{owner}"')
        await self._remove([target])

    def of(self, namespace: str) -> Sequence[TapRecord]:
        """The namespace's taps, by name."""
        return [tap for _, tap in sorted(self._taps.items()) if tap.namespace == namespace]

    def vlans_in_use(self, bridge: str | None = None) -> frozenset[int]:
        """The tags of host taps, on one bridge or on all."""
        return frozenset(tap.vlan for tap in self._taps.values() if bridge in (None, tap.bridge))

    def taps_on(self, bridge: str) -> list[str]:
        """The host taps on a bridge."""
        return [tap.name for tap in self._taps.values() if tap.bridge == bridge]

    def bridges_in_use(self) -> frozenset[str]:
        """The bridges with host taps."""
        return frozenset(tap.bridge for tap in self._taps.values())

    def bridge_of(self, address: str) -> str:
        """The bridge of the tap that was given an address; empty when none was."""
        return next((tap.bridge for tap in self._taps.values() if tap.option.partition("/")[0] == address), "")

    async def recover(self) -> None:
        """Adopt the taps that are still there; remove those that are half made or broken."""
        records = [decode(record, TapRecord) for record in self._journal.read(HOST_TAP_KIND)]
        self._taps = {record.name: record for record in records}
        if not records:
            return
        database = await self._switch.database_if_running()
        listed = {port.name for port in await database.ports()} if database is not None else set[str]()
        here = proc.boot_id()
        broken = [
            tap.name
            for tap in records
            if not (tap.ready and tap.boot_id == here and tap.name in listed and taps.exists(tap.name))
        ]
        if broken:
            _log.warning("removing host taps that did not survive: %s", ", ".join(broken))
            await self._remove(broken)

    async def close(self, *, remove: bool) -> None:
        """Remove all taps (`remove`), or leave them for the next daemon."""
        if remove:
            await self._remove(list(self._taps))

    # inside

    def _check_name(self, name: str) -> None:
        if not name:
            return
        check_tap(name)
        if _GENERATED.fullmatch(name):
            raise InvalidInput(f'tap name "{name}" is reserved', hint="names mega_tapN are given by minimega itself")
        if name in self._taps or self._network.is_vm_tap(name):
            raise AlreadyExists("tap already on bridge", hint=f'there is a tap "{name}"; take another name')
        if taps.exists(name):
            raise AlreadyExists(f'interface "{name}" exists already', hint="take another name")

    async def _make(self, record: TapRecord, address: Cidr | None) -> None:
        name = record.name
        database = await self._switch.ensure_bridges([record.bridge])
        port = NewPort(name, record.bridge, record.vlan, "internal", {MARK: self._switch.mark})
        await database.add_ports([port], timeout_s=_ADD_S)
        if self._switch.userspace:
            taps.disable_tx_offload(name)
        try:
            taps.set_flags(name, up=True, promisc=True)
        except OSError as error:
            raise CommandFailed(f'cannot set tap "{name}" up: {error.strerror}') from error
        if record.option == "dhcp":
            address = await dhcp_client.obtain(name)
            check_subnet(address, netlink.addresses())
        if address is not None:
            netlink.add_address(name, address)

    async def _undo(self, name: str) -> None:
        try:
            await self._remove([name])
        except MegaError as error:
            if taps.exists(name):
                _log.error("cannot remove the half-made tap %s: %s", name, chain_text(error))
            else:  # no switch, and nothing was made
                await self._forget([name])

    async def _remove(self, names: Sequence[str]) -> None:
        if not names:
            return
        database = await self._switch.database_if_running()
        if database is not None:
            await database.remove_ports(names, wait=True)
        left = [name for name in names if taps.is_tap(name)]  # of an ovs-vswitchd that is dead
        for text in await taps.remove_many(left):
            _log.warning("%s", text)
        await self._forget(names)

    async def _forget(self, names: Sequence[str]) -> None:
        await self._journal.write(*(Delete(HOST_TAP_KIND, name) for name in names))
        for name in names:
            self._taps.pop(name, None)

    async def _write(self, record: TapRecord) -> None:
        await self._journal.write(Put(HOST_TAP_KIND, record.name, record.namespace, record))
        self._taps[record.name] = record


def check_subnet(address: Cidr, present: Collection[netlink.Address]) -> None:
    """Raise AlreadyExists when an interface of this host is in that subnet; the loopback is everybody's."""
    for other in present:
        if other.address.version != address.version or other.interface == "lo":
            continue
        if other.address.network.overlaps(address.network) and not address.network.is_link_local:
            raise AlreadyExists(
                f'{address.network} is taken by "{other.interface}" ({other.address})', hint="choose another subnet"
            )


def _parse(text: str) -> Cidr:
    try:
        address = ip_interface(text)
    except ValueError:
        raise InvalidInput(f'invalid address "{text}"', hint="write it as 10.0.0.1/24, or dhcp, or none") from None
    if "/" not in text:
        raise InvalidInput(f'address "{text}" has no prefix length', hint=f"write it as {text}/24")
    if address.version == 4 and address.network.prefixlen < 31:
        if address.ip in (address.network.network_address, address.network.broadcast_address):
            raise InvalidInput(
                f'"{text}" is the address of the network or its broadcast, not of a host',
                hint=f"take another address of {address.network}",
            )
    return address
