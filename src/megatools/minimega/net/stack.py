"""The whole network of this host in one piece, put together: what `app` makes, recovers and closes.

Switch <- Network <- HostTaps <- Bridges
             ^
        AddressBook <- Dhcp (leases)          Vlans asks Network and HostTaps which tags are in use
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.net.addresses import AddressBook
from megatools.minimega.net.bridges import Bridges
from megatools.minimega.net.dhcp import Dhcp
from megatools.minimega.net.host_taps import HostTaps
from megatools.minimega.net.names import VLAN_LIMIT
from megatools.minimega.net.network import Network
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.switch import Switch
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
    ) -> None:
        """VLAN names get numbers within `vlan_limits`; `events` is called with a MAC whose addresses changed."""
        self._switch = Switch(base, journal, ovs)
        self.dhcp = Dhcp(base, journal, events)
        self._book = AddressBook(self.dhcp.lease, events)
        self._switch.watch_bridges(self._book.listen_on)
        self.network = Network(switch=self._switch, journal=journal, book=self._book)
        self.host_taps = HostTaps(switch=self._switch, journal=journal, network=self.network)
        self.bridges = Bridges(switch=self._switch, network=self.network, host_taps=self.host_taps)
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
            await self._switch.listen_again({*self.network.bridges_in_use(), *self.host_taps.bridges_in_use()})
        except MegaError as error:  # the daemon must come up: VMs run on, and the next use says the same again
            _log.error("cannot compare the ports with what there is: %s", chain_text(error))

    async def release(self, namespace: str) -> None:
        """Let go of all a namespace owns here; its VMs are gone already."""
        await self.dhcp.kill(namespace, "all")
        await self.host_taps.delete(namespace, "all")
        await self.vlans.clear(namespace)

    async def close(self, *, remove: bool) -> None:
        """Let go of everything; with `remove` (quit) take it all down: servers, taps, ports, our empty bridges and
        our switch. The VMs are gone already.
        """
        await self.dhcp.close(remove=remove)
        self._book.close()
        await self.host_taps.close(remove=remove)
        await self.network.close(remove=remove)
        await self._switch.close(remove=remove)
        if remove:
            await self.vlans.clear_all()

    def _tags_in_use(self) -> frozenset[int]:
        return self.network.vlans_in_use() | self.host_taps.vlans_in_use()
