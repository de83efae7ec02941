"""The taps of this host's VMs: made, put on their bridges in batches, moved between VLANs, removed.

`vm` reaches it as `vm.ports.Ports`; `app` makes it through `net.stack`. The life of a port::

    journal (intent) -> tap -> one database transaction -> checked -> attach returns
                  any failure: port, tap and record are removed again
    detach: out of the database -> tap -> record; ovs-vswitchd lets go behind our back

After a crash `recover` keeps ports whose tap and row are both there, and removes what is half there.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Protocol

import msgspec

from megatools.hostkit import proc, taps
from megatools.hostkit.errors import AlreadyExists, MegaError, NotFound, Unavailable, chain_text
from megatools.hostkit.ovs.database import Database
from megatools.hostkit.ovs.model import NewPort
from megatools.minimega.net.names import check_bridge, check_mac, check_tap, check_vlan
from megatools.minimega.net.ports import Addresses, Port
from megatools.minimega.net.switch import MARK, Switch
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
KIND = "port"
HOST_TAP_KIND = "tap"
TUNNEL_KIND = "tunnel"
TRUNK_KIND = "trunk"
_OTHER_KINDS = (HOST_TAP_KIND, TUNNEL_KIND, TRUNK_KIND)  # ports with our mark that other rooms look after
_BASE_S = 15.0
_EACH_S = 0.2


class PortRecord(msgspec.Struct, frozen=True):
    """Journal kind `port`."""

    port: Port
    boot_id: str


class AddressBook(Protocol):
    """Who knows the addresses of MACs."""

    def watch(self, mac: str) -> None:
        """Keep what is seen of this MAC."""
        ...

    def forget(self, mac: str) -> None:
        """Drop what is known of this MAC."""
        ...

    def addresses(self, mac: str) -> Addresses:
        """What is known of this MAC."""
        ...


class Network:
    """The VM ports of this host."""

    def __init__(self, *, switch: Switch, journal: Journal, book: AddressBook) -> None:
        self._switch = switch
        self._journal = journal
        self._book = book
        self._ports: dict[str, Port] = {}
        self._numbers = count()
        self._leaving: set[str] = set()  # out of the database, but ovs-vswitchd may still have them open

    # what vm calls

    @property
    def offloads(self) -> bool:
        """Whether bridges complete checksums: the kernel's datapath does, the one in userspace does not."""
        return not self._switch.userspace

    async def attach(self, ports: Sequence[Port]) -> None:
        """Make taps and put them on their bridges: `make`, then `plug`; all or nothing."""
        await self.make(ports)
        await self.plug(ports)

    async def make(self, ports: Sequence[Port]) -> None:
        """Make the taps, all or none; they carry nothing until `plug`.

        Bridges are made on demand. Raises InvalidInput, AlreadyExists, CommandFailed, Unavailable, PermissionDenied.
        """
        if not ports:
            return
        self._check(ports)
        database = await self._switch.ensure_bridges([port.bridge for port in ports if port.vlan is not None])
        self._check_free(ports)
        names = [port.tap for port in ports]
        if not self._leaving.isdisjoint(names):  # it would keep the tap that was, not notice that this is another
            await self._wait_for_leaving(database)
        self._ports.update((port.tap, port) for port in ports)
        try:
            await self._write(ports)
            await taps.create_many(names)
        except BaseException:
            await self._forget(names)
            raise

    async def plug(self, ports: Sequence[Port]) -> None:
        """Put taps that were made on their bridges: one transaction for all, checked; a failure removes them all.

        Raises AlreadyExists, CommandFailed, Unavailable.
        """
        if not ports:
            return
        try:
            await self._plug(await self._switch.database(), ports)
        except BaseException:
            await self._undo([port.tap for port in ports])
            raise
        for port in ports:
            if port.mac:
                self._book.watch(port.mac.lower())

    async def detach(self, taps_: Sequence[str]) -> None:
        """Remove ports and taps in one batch; returns when the database no longer lists them and the taps are gone.

        Taps that are not ours are ignored. ovs-vswitchd needs 12-17 ms more for each, behind our back.
        """
        names = [name for name in dict.fromkeys(taps_) if name in self._ports]
        if not names:
            return
        macs = [self._ports[name].mac.lower() for name in names]
        if any(self._ports[name].vlan is not None for name in names):
            database = await self._switch.database_if_running()
            if database is not None:
                self._leaving.update(names)
                await database.remove_ports(names)
        for text in await taps.remove_many(names):
            _log.warning("%s; it goes when that program ends", text)
        await self._forget(names)
        for mac in macs:
            self._book.forget(mac)

    async def retag(self, changes: Mapping[str, tuple[str, int | None]]) -> None:
        """Move taps to other bridges or VLANs, None for none: tap -> (bridge, VLAN). Raises NotFound, and as attach."""
        old = {name: self._port(name) for name in changes}
        new = {name: msgspec.structs.replace(old[name], bridge=to[0], vlan=to[1]) for name, to in changes.items()}
        for port in new.values():
            self._check_one(port)
        database = await self._switch.ensure_bridges([port.bridge for port in new.values() if port.vlan is not None])
        retagged: dict[str, int] = {}
        unplugged: list[str] = []
        plugged: list[Port] = []
        for name, port in new.items():
            if port.vlan is not None and old[name].vlan is not None and port.bridge == old[name].bridge:
                retagged[name] = port.vlan
                continue
            if old[name].vlan is not None:
                unplugged.append(name)
            if port.vlan is not None:
                plugged.append(port)
        if retagged:
            await database.set_tags(retagged)
        await database.remove_ports(unplugged)
        await self._plug(database, plugged)
        await self._write(list(new.values()))
        self._ports.update(new)

    def new_tap_names(self, number: int) -> list[str]:
        """Names `mega_tapN` that no interface has; never given twice by one daemon."""
        found: list[str] = []
        while len(found) < number:
            name = f"mega_tap{next(self._numbers)}"
            if name not in self._ports and not taps.exists(name):
                found.append(name)
        return found

    def addresses(self, mac: str) -> Addresses:
        """The addresses of a VM's MAC: from its lease, else as seen on the bridge; empty when unknown."""
        return self._book.addresses(mac.lower())

    # what net's other rooms and app call

    def vlans_in_use(self, bridge: str | None = None) -> frozenset[int]:
        """The tags of our VM ports, on one bridge or on all."""
        ports = self._ports.values()
        return frozenset(port.vlan for port in ports if port.vlan is not None and bridge in (None, port.bridge))

    def taps_on(self, bridge: str) -> list[str]:
        """The taps of our VMs on a bridge."""
        return [port.tap for port in self._ports.values() if port.vlan is not None and port.bridge == bridge]

    def bridges_in_use(self) -> frozenset[str]:
        """The bridges with taps of our VMs."""
        return frozenset(port.bridge for port in self._ports.values() if port.vlan is not None)

    def is_vm_tap(self, name: str) -> bool:
        """Whether a tap belongs to a VM of ours."""
        return name in self._ports

    async def recover(self) -> None:
        """Compare the journal with what is there: keep whole ports, remove half ones and those nobody knows."""
        self._numbers = count()
        records = [decode(record, PortRecord) for record in self._journal.read(KIND)]
        others = {record.id for kind in _OTHER_KINDS for record in self._journal.read(kind)}
        self._ports = {record.port.tap: record.port for record in records}
        if not records and not others:
            return
        listed: set[str] = set()
        database = await self._switch.database_if_running()
        if database is not None:
            bridges = {bridge.name for bridge in await database.bridges()}
            listed = {port.name for port in await database.ports(key=MARK, value=self._switch.mark)} - bridges
        here = proc.boot_id()
        broken = [record.port.tap for record in records if not _whole(record, listed, here)]
        strays = listed - self._ports.keys() - others
        if broken or strays:
            _log.warning("removing %d ports that did not survive: %s", len(broken) + len(strays), [*broken, *strays])
        if database is not None:
            await database.remove_ports([*strays])
        await self.detach(broken)
        for port in self._ports.values():
            if port.mac:
                self._book.watch(port.mac.lower())

    async def close(self, *, remove: bool) -> None:
        """Remove every VM port (`remove`), or leave all as it is for the next daemon."""
        if remove:
            await self.detach(list(self._ports))

    # inside

    def _check(self, ports: Sequence[Port]) -> None:
        for port in ports:
            self._check_one(port)
        for name, times in Counter(port.tap for port in ports).items():
            if times > 1:
                raise AlreadyExists(f'tap "{name}" is asked for {times} times in one batch')

    def _check_one(self, port: Port) -> None:
        check_tap(port.tap)
        check_bridge(port.bridge)
        if port.vlan is not None:
            check_vlan(port.vlan)
        if port.mac:
            check_mac(port.mac)

    def _check_free(self, ports: Sequence[Port]) -> None:
        for port in ports:
            if port.tap in self._ports or taps.exists(port.tap):
                raise AlreadyExists(f'tap "{port.tap}" exists already')

    def _port(self, name: str) -> Port:
        if name not in self._ports:
            raise NotFound(f'no tap "{name}" of a VM')
        return self._ports[name]

    async def _plug(self, database: Database, ports: Sequence[Port]) -> None:
        rows = [
            NewPort(port.tap, port.bridge, port.vlan, ids={MARK: self._switch.mark, "megatools-owner": port.owner})
            for port in ports
            if port.vlan is not None
        ]
        if not rows:
            return
        timeout_s = _BASE_S + _EACH_S * len(rows)
        leaving = set(self._leaving)
        try:
            await database.add_ports(rows, timeout_s=timeout_s)
            self._leaving -= leaving  # changes are applied in order
        except AlreadyExists:
            if not await self._remove_stale(database, [row.name for row in rows]):
                raise
            await database.add_ports(rows, timeout_s=timeout_s)

    async def _wait_for_leaving(self, database: Database) -> None:
        leaving = set(self._leaving)
        if not await database.responds(timeout_s=_BASE_S + _EACH_S * len(leaving)):
            raise Unavailable("ovs-vswitchd is still busy with removed ports", hint="try again")
        self._leaving -= leaving

    async def _remove_stale(self, database: Database, names: Sequence[str]) -> bool:
        """Remove ports of these names that a daemon left behind; their taps did not exist before we made ours."""
        stale = [port.name for port in await database.ports() if port.name in names and MARK in port.ids]
        _log.warning("removing ports left in the database by an earlier daemon: %s", ", ".join(stale))
        await database.remove_ports(stale, wait=True)
        return bool(stale)

    async def _write(self, ports: Sequence[Port]) -> None:
        boot = proc.boot_id()
        await self._journal.write(*(Put(KIND, port.tap, port.namespace, PortRecord(port, boot)) for port in ports))

    async def _forget(self, names: Sequence[str]) -> None:
        await self._journal.write(*(Delete(KIND, name) for name in names))
        for name in names:
            self._ports.pop(name, None)

    async def _undo(self, names: Sequence[str]) -> None:
        """Back to before attach; what cannot be undone now stays journaled for `recover`."""
        try:
            await asyncio.shield(self.detach(names))
        except MegaError as error:
            _log.error("cannot undo the ports %s: %s", ", ".join(names), chain_text(error))


def _whole(record: PortRecord, listed: set[str], boot_id: str) -> bool:
    """Whether a port survived as it was acknowledged."""
    port = record.port
    plugged = port.vlan is None or port.tap in listed
    return record.boot_id == boot_id and plugged and taps.exists(port.tap)
