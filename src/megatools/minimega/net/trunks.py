"""Network cards of this host lent to bridges: all VLANs pass, tagged, to whatever the card is plugged into.

Commands reach it through `net.operations`. A card is acknowledged once it is a checked port and journaled with what it
was before; when it is taken off, and at the end, it is made that again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from megatools.hostkit import netlink, nics, proc, taps
from megatools.hostkit.errors import AlreadyExists, InvalidInput, InvalidState, MegaError, NotFound, chain_text
from megatools.hostkit.nics import NicState
from megatools.hostkit.ovs.database import Database
from megatools.hostkit.ovs.model import NewPort
from megatools.minimega.net.names import check_bridge
from megatools.minimega.net.network import TRUNK_KIND
from megatools.minimega.net.switch import MARK, Switch
from megatools.minimega.net.tunnel_ports import is_in_userspace
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
_ADD_S = 15.0


class Trunk(msgspec.Struct, frozen=True):
    """Journal kind `trunk`; `was` is the card before it was lent; not `ready`: half made."""

    interface: str
    bridge: str
    was: NicState
    boot_id: str
    ready: bool = False


class Trunks:
    """All trunks of this host."""

    def __init__(self, *, switch: Switch, journal: Journal, is_joined: Callable[[str], bool]) -> None:
        """`is_joined` says whether a bridge reaches other hosts through the tunnels of a namespace."""
        self._switch = switch
        self._journal = journal
        self._is_joined = is_joined
        self._trunks: dict[str, Trunk] = {}
        self._lock = asyncio.Lock()

    async def add(self, bridge: str, interface: str) -> None:
        """Plug a card into a bridge, which is made if missing.

        Raises NotFound, AlreadyExists (`bridge already trunking to ...`), InvalidState (the card is in use, or the
        bridge has other ways to the same hosts).
        """
        check_bridge(bridge)
        self._check(bridge, interface)
        was = nics.state(interface)
        database = await self._switch.ensure_bridges([bridge])
        async with self._lock:
            self._check(bridge, interface)
            await self._check_free(database, interface)
            trunk = Trunk(interface, bridge, was, proc.boot_id())
            await self._keep(trunk)
            try:
                nics.lend(interface, merging=not await is_in_userspace(database, bridge))
                await database.add_ports([NewPort(interface, bridge, ids={MARK: self._switch.mark})], timeout_s=_ADD_S)
                await self._keep(msgspec.structs.replace(trunk, ready=True))
            except BaseException:
                await self._undo(trunk)
                raise

    async def remove(self, bridge: str, interface: str) -> None:
        """Take a card off a bridge and make it what it was. Raises NotFound (`unknown trunk: ...`)."""
        async with self._lock:
            found = self._trunks.get(interface)
            if found is None or found.bridge != bridge:
                raise NotFound(f"unknown trunk: {interface}", hint=f"bridge lists the trunks of {bridge}")
            await self._remove([found])

    def on(self, bridge: str) -> list[str]:
        """The cards plugged into a bridge, by name."""
        return sorted(trunk.interface for trunk in self._trunks.values() if trunk.bridge == bridge)

    def bridges_in_use(self) -> frozenset[str]:
        """The bridges that have trunks."""
        return frozenset(trunk.bridge for trunk in self._trunks.values())

    async def recover(self) -> None:
        """Adopt the trunks that are still there; give back the cards of those that are not."""
        self._trunks = {record.id: decode(record, Trunk) for record in self._journal.read(TRUNK_KIND)}
        if not self._trunks:
            return
        database = await self._switch.database_if_running()
        listed = {port.name for port in await database.ports()} if database is not None else set[str]()
        here = proc.boot_id()
        broken = [
            trunk
            for trunk in self._trunks.values()
            if not (
                trunk.ready and trunk.boot_id == here and trunk.interface in listed and taps.exists(trunk.interface)
            )
        ]
        if broken:
            _log.warning(
                "giving back the trunks that did not survive: %s", ", ".join(each.interface for each in broken)
            )
            await self._remove(broken)

    async def close(self, *, remove: bool) -> None:
        """Give all cards back (`remove`), or leave them for the next daemon."""
        if remove:
            await self._remove(list(self._trunks.values()))

    # inside

    def _check(self, bridge: str, interface: str) -> None:
        if interface in self._trunks:
            trunk = self._trunks[interface]
            if trunk.bridge == bridge:
                raise AlreadyExists(f"bridge already trunking to {interface}")
            raise InvalidState(
                f'"{interface}" is a trunk of bridge "{trunk.bridge}"',
                hint=f"bridge notrunk {trunk.bridge} {interface}",
            )
        if self._is_joined(bridge):
            raise InvalidState(
                f'bridge "{bridge}" reaches other hosts through tunnels; a trunk to them as well would be a loop',
                hint=f"ns del-bridge {bridge}, then trunk, then ns bridge again: it checks all hosts",
            )
        if not taps.exists(interface):
            raise NotFound(f'no interface "{interface}" on this host')
        if interface == "lo" or taps.is_tap(interface):
            raise InvalidInput(f'"{interface}" is no network card', hint="a trunk is a card of this host, as eth1")
        used = [each.address for each in netlink.addresses() if each.interface == interface]
        if used := [address for address in used if not address.ip.is_link_local]:
            raise InvalidState(
                f'"{interface}" has the address {used[0]}, which would stop working',
                hint=f"use another card, or remove it first: ip addr del {used[0]} dev {interface}",
            )

    async def _check_free(self, database: Database, interface: str) -> None:
        if any(port.name == interface for port in await database.ports()):
            raise InvalidState(f'"{interface}" is on a bridge of Open vSwitch already', hint="see ovs-vsctl show")

    async def _undo(self, trunk: Trunk) -> None:
        try:
            await asyncio.shield(self._remove([trunk]))
        except MegaError as error:
            _log.error("cannot give back the card %s: %s", trunk.interface, chain_text(error))

    async def _remove(self, unwanted: Sequence[Trunk]) -> None:
        names = [trunk.interface for trunk in unwanted]
        database = await self._switch.database_if_running() if names else None
        if database is not None:
            await database.remove_ports(names, wait=True)
        here = proc.boot_id()
        for trunk in unwanted:
            if trunk.boot_id == here:  # after a reboot it is as the system made it
                nics.give_back(trunk.interface, trunk.was)
            await self._journal.write(Delete(TRUNK_KIND, trunk.interface))
            self._trunks.pop(trunk.interface, None)

    async def _keep(self, trunk: Trunk) -> None:
        await self._journal.write(Put(TRUNK_KIND, trunk.interface, "", trunk))
        self._trunks[trunk.interface] = trunk
