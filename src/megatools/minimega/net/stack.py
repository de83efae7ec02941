"""The whole network of this host in one piece, put together: what `app` makes, recovers and closes.

Switch <- Network <- HostTaps <- Tunnels <- Trunks <- Bridges
             ^
        AddressBook <- Dhcp (leases)          Vlans asks Network and HostTaps which tags are in use
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from megatools.hostkit import routes
from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.net.addresses import AddressBook
from megatools.minimega.net.bridges import Bridges
from megatools.minimega.net.dhcp import Dhcp
from megatools.minimega.net.host_taps import HostTaps
from megatools.minimega.net.joining import Joining
from megatools.minimega.net.names import VLAN_LIMIT
from megatools.minimega.net.network import Network
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.switch import Switch
from megatools.minimega.net.trunks import Trunks
from megatools.minimega.net.tunnels import Tunnels
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.journal import Journal

_log = logging.getLogger(__name__)


class NetworkStack:
    """The rooms of `net`, wired; each may be used directly."""

    def __init__(
        self,
        *,
        base: Path,
        journal: Journal,
        ovs: OvsSettings,
        vlan_limits: tuple[int, int] = (101, VLAN_LIMIT),
        events: Callable[[str], None] | None = None,
        own_address: Callable[[], str] = routes.own_address,
    ) -> None:
        """VLAN names get numbers within `vlan_limits`; `events` is called with a MAC whose addresses changed.

        `own_address` is where other hosts reach us: tunnels begin there.
        """
        self._switch = Switch(base, journal, ovs)
        self.dhcp = Dhcp(base, journal, events, self._guest_mtu)
        self._book = AddressBook(self.dhcp.lease, events)
        self._switch.watch_bridges(self._book.listen_on)
        self.network = Network(switch=self._switch, journal=journal, book=self._book)
        self.host_taps = HostTaps(switch=self._switch, journal=journal, network=self.network)
        self.tunnels = Tunnels(
            switch=self._switch, journal=journal, own_address=own_address, changed=self.dhcp.tell_mtu
        )
        self.trunks = Trunks(switch=self._switch, journal=journal, is_joined=self.tunnels.is_joined)
        self.bridges = Bridges(
            switch=self._switch,
            network=self.network,
            host_taps=self.host_taps,
            trunks=self.trunks,
            tunnels=self.tunnels,
        )
        self.joining = Joining(tunnels=self.tunnels, trunks=self.trunks, bridges=self.bridges, own_address=own_address)
        self.vlans = Vlans(journal, self._tags_in_use, vlan_limits)

    async def recover(self) -> None:
        """Learn what an earlier daemon left, and remove what is half there; starts no switch.

        Once per start, before VMs are recovered.
        """
        self.vlans.recover()
        await self.dhcp.recover()
        try:
            await self._switch.recover()
            await self.network.recover()
            await self.host_taps.recover()
            await self.tunnels.recover()
            await self.trunks.recover()
            self.dhcp.tell_mtu()
            rooms = (self.network, self.host_taps, self.tunnels, self.trunks)
            await self._switch.listen_again({bridge for room in rooms for bridge in room.bridges_in_use()})
        except MegaError as error:  # the daemon must come up: VMs run on, and the next use says the same again
            _log.error("cannot compare the ports with what there is: %s", chain_text(error))

    async def release(self, namespace: str) -> None:
        """Let go of all a namespace owns here; its VMs are gone already."""
        await self.dhcp.kill(namespace, "all")
        await self.host_taps.delete(namespace, "all")
        await self.tunnels.leave(namespace)
        await self.vlans.leave(namespace)

    async def close(self, *, remove: bool) -> None:
        """Let go of everything; with `remove` (quit) take it all down: servers, taps, tunnels, trunks, ports, our empty
        bridges and our switch. The VMs are gone already.
        """
        await self.dhcp.close(remove=remove)
        self._book.close()
        await self.host_taps.close(remove=remove)
        await self.tunnels.close(remove=remove)
        await self.trunks.close(remove=remove)
        await self.network.close(remove=remove)
        await self._switch.close(remove=remove)
        if remove:
            await self.vlans.leave_all()

    def _guest_mtu(self, address: str) -> int:
        """The longest packet that passes all tunnels of the bridge a host tap with this address is on; 0: any."""
        bridge = self.host_taps.bridge_of(address)
        return self.tunnels.guest_mtu(bridge) if bridge else 0

    def _tags_in_use(self) -> frozenset[int]:
        return self.network.vlans_in_use() | self.host_taps.vlans_in_use()
