"""The one Open vSwitch of this daemon: found or started at first use, with the bridges made on demand.

For `net` only. What is ours in the database carries our base directory's mark, so that two daemons on one switch, or
an operator's own ports, are never mixed up::

    external_ids megatools-base = first 16 hex digits of SHA-256 of the base directory's path
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from pathlib import Path

import msgspec

from megatools.hostkit import proc, taps
from megatools.hostkit.errors import MegaError, Unavailable, chain_text
from megatools.hostkit.ovs import service as ovs_service
from megatools.hostkit.ovs.database import Database
from megatools.hostkit.ovs.flows import copy_neighbour_traffic
from megatools.hostkit.ovs.service import Service
from megatools.minimega.net.names import check_bridge
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
MARK = "megatools-base"
KIND = "bridge"
_CLEAN_UP_S = 20.0


class BridgeRecord(msgspec.Struct, frozen=True):
    """Journal kind `bridge`: a bridge this daemon made."""

    name: str


class Switch:
    """The switch, and which of its bridges are ours."""

    def __init__(self, base: Path, journal: Journal, settings: OvsSettings) -> None:
        self.mark = hashlib.sha256(str(base.resolve()).encode()).hexdigest()[:16]
        self._private_dir = base / "ovs"
        self._journal = journal
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._making = asyncio.Lock()
        self._database: Database | None = None
        self._service: Service | None = None
        self._processes: Sequence[proc.Identity] = ()
        self._datapath = ""
        self._ours: set[str] = set()
        self._ready: set[str] = set()
        self._on_bridge: list[Callable[[str], Awaitable[None]]] = []

    @property
    def userspace(self) -> bool:
        """Whether bridges we make use the userspace datapath, which computes no checksums."""
        return self._datapath_type() == "netdev"

    @property
    def ours(self) -> frozenset[str]:
        """The bridges this daemon made."""
        return frozenset(self._ours)

    def watch_bridges(self, callback: Callable[[str], Awaitable[None]]) -> None:
        """Be told of each bridge when it is first used."""
        self._on_bridge.append(callback)

    async def database(self) -> Database:
        """The database, connected; found or started at first use. Raises Unavailable, NotFound."""
        if (well := self._well()) is not None:
            return well
        async with self._connecting:
            if (well := self._well()) is not None:
                return well
            self._ready.clear()
            if self._database is not None:
                self._database.close()
                self._database = None
            self._service, database = await ovs_service.choose(self._settings.run_dir, self._private_dir)
            self._processes = await ovs_service.processes(self._private_dir) if self._service.owned else []
            self._database = database
            return database

    async def database_if_running(self) -> Database | None:
        """The database when it is connected, or when there is reason to believe that one runs; never starts one."""
        if (well := self._well()) is not None:
            return well
        if self._settings.run_dir is None and not await ovs_service.is_running():
            return None
        return await self.database()

    async def ensure_bridges(self, names: Sequence[str]) -> Database:
        """Make the bridges that are missing, and get all of them ready for use. Raises InvalidInput, Unavailable."""
        database = await self.database()
        missing = [name for name in dict.fromkeys(names) if name not in self._ready]
        if missing:
            async with self._making:
                present = {bridge.name for bridge in await database.bridges()}
                for name in missing:
                    if name not in self._ready:
                        await self._ready_bridge(database, name, exists=name in present)
        return database

    async def destroy_bridge(self, name: str) -> None:
        """Remove a bridge of ours; the caller has made sure that it is empty."""
        database = await self.database()
        async with self._making:
            await database.remove_bridges([name])
            self._ours.discard(name)
            self._ready.discard(name)
            await self._journal.write(Delete(KIND, name))

    async def recover(self) -> None:
        """Learn which bridges are ours; those that are gone are forgotten."""
        known = {decode(record, BridgeRecord).name for record in self._journal.read(KIND)}
        if not known:
            return
        self._ours = known  # until we know better
        database = await self.database_if_running()
        if database is None:  # our own switch ended with this host: what its database has will be made anew
            await ovs_service.stop(self._private_dir)
        rows = await database.bridges() if database is not None else []
        present = {bridge.name for bridge in rows if bridge.ids.get(MARK) == self.mark}
        for name in sorted(known - present):
            _log.warning("bridge %s is gone", name)
            await self._journal.write(Delete(KIND, name))
        self._ours = known & present

    async def listen_again(self, names: Collection[str]) -> None:
        """After `recover`: make the bridges that are in use ready, as at their first use."""
        if names:
            await self.ensure_bridges(sorted(names))

    async def close(self, *, remove: bool) -> None:
        """Let go; with `remove`, also remove our bridges that are empty, and stop the switch if it is ours.

        A switch of ours on which others have bridges, or ports on ours, runs on.
        """
        others: list[str] = []
        left = [*self._ours, "ovs-netdev"]
        if remove:
            try:
                others = await self._remove_bridges()
            except MegaError as error:
                _log.error("cannot remove our bridges: %s", chain_text(error))
        if self._database is not None:
            self._database.close()
            self._database = None
        if remove and others and self._service is not None and self._service.owned:
            _log.warning("our Open vSwitch runs on: others use the bridges %s", ", ".join(others))
        elif remove and await ovs_service.stop(self._private_dir):
            for text in await taps.remove_many([name for name in left if taps.is_tap(name)]):
                _log.warning("%s", text)

    async def _remove_bridges(self) -> list[str]:
        """Remove our empty bridges; the names of those that stay."""
        database = await self.database_if_running()
        if database is None:
            return []
        rows = await database.bridges()
        gone = [row.name for row in rows if row.ids.get(MARK) == self.mark and len(row.ports) <= 1]
        await database.remove_bridges(gone)
        if gone and not await database.responds(timeout_s=_CLEAN_UP_S):
            _log.warning("ovs-vswitchd is still cleaning up after bridges %s", ", ".join(gone))
        await self._journal.write(*(Delete(KIND, name) for name in gone))
        self._ours.difference_update(gone)
        self._ready.difference_update(gone)
        return [row.name for row in rows if row.name not in gone]

    async def _ready_bridge(self, database: Database, name: str, *, exists: bool) -> None:
        if not exists:
            check_bridge(name)
            if taps.exists(name) and not taps.is_tap(name):  # one left by an ovs-vswitchd that died is used again
                raise Unavailable(f'"{name}" is an interface, but no bridge of Open vSwitch', hint="use another name")
            await self._journal.write(Put(KIND, name, "", BridgeRecord(name)))
            try:
                await database.add_bridge(name, self._datapath_type(), {MARK: self.mark})
            except MegaError:
                await self._journal.write(Delete(KIND, name))
                raise
            self._ours.add(name)
        if name in self._ours:
            await self._listen_on(name)
        self._ready.add(name)
        for callback in self._on_bridge:
            await callback(name)

    async def _listen_on(self, name: str) -> None:
        """Copy ARP and neighbour discovery to the local port of a bridge of ours, and hear it there."""
        assert self._service is not None
        try:
            taps.disable_ipv6(name)
            taps.disable_arp_replies(name)
            taps.set_flags(name, up=True)
            await copy_neighbour_traffic(self._service.management(name))
        except (MegaError, OSError) as error:
            _log.warning("addresses of VMs on bridge %s are known from leases only: %s", name, chain_text(error))

    def _well(self) -> Database | None:
        """The database if it is connected and, where the switch is ours, neither half of it has died."""
        if self._database is None or not self._database.is_open:
            return None
        return self._database if all(proc.is_alive(each) for each in self._processes) else None

    def _datapath_type(self) -> str:
        if not self._datapath:
            self._datapath = ovs_service.datapath_type()
        return self._datapath
