"""Who has which address: DHCP leases first, then what ARP and neighbour discovery say on the bridges.

`net.network` asks; `net.dhcp` provides the leases. Only MACs that VMs of ours have are kept, so a flood of
invented ones costs nothing. `events` is told a MAC each time its addresses change.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import IPv6Address

import msgspec

from megatools.hostkit.errors import MegaError, chain_text
from megatools.hostkit.neighbours import Listener, Sighting
from megatools.minimega.net.ports import Addresses

_log = logging.getLogger(__name__)


class AddressBook:
    """The addresses of the MACs of our VMs."""

    def __init__(self, lease: Callable[[str], str], events: Callable[[str], None] | None = None) -> None:
        """`lease` gives the leased IPv4 address of a MAC, or an empty text."""
        self._lease = lease
        self._events = events
        self._seen: dict[str, Addresses] = {}
        self._users: dict[str, int] = {}
        self._listeners: dict[str, Listener] = {}

    def watch(self, mac: str) -> None:
        """Keep what is seen of this MAC; counted, because two ports may have the same."""
        self._users[mac] = self._users.get(mac, 0) + 1

    def forget(self, mac: str) -> None:
        """Drop what is known of this MAC, once nobody watches it any more."""
        left = self._users.get(mac, 0) - 1
        if left > 0:
            self._users[mac] = left
        else:
            self._users.pop(mac, None)
            self._seen.pop(mac, None)

    def addresses(self, mac: str) -> Addresses:
        """What is known of this MAC."""
        seen = self._seen.get(mac, Addresses())
        leased = self._lease(mac)
        return msgspec.structs.replace(seen, ip4=leased) if leased else seen

    async def listen_on(self, bridge: str) -> None:
        """Hear a bridge's local interface; a bridge that cannot be heard is logged and left out."""
        old = self._listeners.pop(bridge, None)
        if old is not None:
            old.close()
        try:
            self._listeners[bridge] = Listener(bridge, self.hear)
        except MegaError as error:
            _log.info("not listening on bridge %s: %s", bridge, chain_text(error))

    def hear(self, sighting: Sighting) -> None:
        """Take a sighting; unknown MACs are dropped."""
        if sighting.mac not in self._users:
            return
        old = self._seen.get(sighting.mac, Addresses())
        if sighting.version == 4:
            new = msgspec.structs.replace(old, ip4=sighting.address)
        elif old.ip6 and IPv6Address(sighting.address).is_link_local:
            return  # every interface has one of these: another address says more
        else:
            new = msgspec.structs.replace(old, ip6=sighting.address)
        if new != old:
            self._seen[sighting.mac] = new
            if self._events is not None:
                self._events(sighting.mac)

    def close(self) -> None:
        """Stop listening."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
