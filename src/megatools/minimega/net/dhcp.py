"""The DHCP and DNS servers of the namespaces, one dnsmasq each.

Commands reach it through `net.operations`. A server is acknowledged once it is bound and journaled; it outlives the
daemon and is found again. One that died since is logged and forgotten when somebody looks.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count
from pathlib import Path
from typing import TypeAlias

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.dnsmasq.config import LEASES, Live, Setup
from megatools.hostkit.dnsmasq.leases import LeaseFile
from megatools.hostkit.dnsmasq.server import PROGRAM, Server
from megatools.hostkit.errors import CommandFailed, InvalidInput, MegaError, NotFound, chain_text
from megatools.hostkit.filewatch import FileWatch
from megatools.hostkit.tunnels import GUEST_MTU
from megatools.minimega.net.names import check_mac
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
KIND = "dhcp"
_PREFIX = "dnsmasq-"
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_Ip: TypeAlias = IPv4Address | IPv6Address


class DhcpRecord(msgspec.Struct, frozen=True):
    """Journal kind `dhcp`."""

    id: int
    namespace: str
    setup: Setup
    live: Live = Live()


class DhcpRow(msgspec.Struct, frozen=True):
    """A line of `dnsmasq`."""

    id: int
    address: str
    min: str
    max: str
    path: str
    pid: int


class _Running(msgspec.Struct):
    record: DhcpRecord
    server: Server
    identity: proc.Identity
    leases: LeaseFile
    known: dict[str, str]
    """Leased addresses by MAC, as last told."""
    watch: int = -1
    mtu: int = 0
    """What clients were told last."""


class Dhcp:
    """The servers of all namespaces of this host."""

    def __init__(
        self,
        base: Path,
        journal: Journal,
        events: Callable[[str], None] | None = None,
        guest_mtu: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """`events` is called in the event loop with a MAC whose lease changed.

        `guest_mtu` says what MTU the clients of the server at an address shall have; 0: whatever they like.
        """
        self._guest_mtu = guest_mtu
        self._base = base
        self._events = events
        self._watch = FileWatch()
        self._journal = journal
        self._servers: dict[int, _Running] = {}
        self._ids = count()

    async def start(self, namespace: str, *, listen: str, low: str, high: str, config: str = "") -> int:
        """Start a server that leases `low` to `high` from `listen`; returns its id once it is bound.

        Raises InvalidInput, NotFound (the config file), CommandFailed (why it could not be started).
        """
        address, first, last = (_address(text) for text in (listen, low, high))
        if not address.version == first.version == last.version:
            raise InvalidInput(
                f"addresses of different families: {listen}, {low}, {high}", hint="all IPv4, or all IPv6"
            )
        if int(first) > int(last):
            raise InvalidInput(
                f"the low address {low} is above the high address {high}", hint="give the lower one first"
            )
        return await self._start(namespace, Setup(str(address), str(first), str(last), _file(config)))

    async def start_file(self, namespace: str, config: str) -> int:
        """Start a server from a user's configuration file. Raises as `start` does."""
        return await self._start(namespace, Setup(include=_file(config)))

    async def kill(self, namespace: str, target: str) -> None:
        """End a server by id, or all of the namespace; raises NotFound (`invalid id`)."""
        for running in await self._targets(namespace, target, "invalid id"):
            await self._stop(running)

    async def rows(self, namespace: str) -> list[DhcpRow]:
        """The namespace's servers, by id."""
        await self._bury_dead()
        return [
            DhcpRow(
                each.record.id,
                each.record.setup.listen,
                each.record.setup.low,
                each.record.setup.high,
                str(each.server.directory),
                each.identity.pid,
            )
            for each in self._of(namespace)
        ]

    async def live(self, namespace: str, target: str) -> list[tuple[int, Live]]:
        """What was added to servers since they started; raises NotFound (`invalid dnsmasq ID`)."""
        return [(each.record.id, each.record.live) for each in await self._targets(namespace, target, _NO_ID)]

    async def add_static(self, namespace: str, target: str, mac: str, address: str) -> None:
        """Give a MAC always the same address. Raises InvalidInput, NotFound."""
        pair = (check_mac(mac), str(_address(address)))
        for each in await self._targets(namespace, target, _NO_ID):
            kept = tuple(old for old in each.record.live.static if old[0] != pair[0])
            await self._configure(each, msgspec.structs.replace(each.record.live, static=(*kept, pair)))

    async def add_dns(self, namespace: str, target: str, address: str, host: str) -> None:
        """Answer a name with an address. Raises InvalidInput, NotFound."""
        if not _HOST.fullmatch(host) or len(host) > 253:
            raise InvalidInput(f'invalid host name "{host}"', hint="letters, digits, hyphens and dots")
        pair = (str(_address(address)), host)
        for each in await self._targets(namespace, target, _NO_ID):
            kept = tuple(old for old in each.record.live.dns if old != pair)
            await self._configure(each, msgspec.structs.replace(each.record.live, dns=(*kept, pair)))

    async def add_upstream(self, namespace: str, target: str, address: str) -> None:
        """Ask this name server about other names. Raises InvalidInput, NotFound."""
        text = str(_address(address))
        for each in await self._targets(namespace, target, _NO_ID):
            kept = tuple(old for old in each.record.live.upstream if old != text)
            await self._configure(each, msgspec.structs.replace(each.record.live, upstream=(*kept, text)))

    async def add_option(self, namespace: str, target: str, option: str) -> None:
        """Hand out a DHCP option, as behind `dhcp-option=`. Raises InvalidInput, NotFound."""
        if not option.strip() or not option.isprintable():
            raise InvalidInput(f'invalid DHCP option "{option}"', hint="as behind dhcp-option= in dnsmasq's manual")
        for each in await self._targets(namespace, target, _NO_ID):
            kept = tuple(old for old in each.record.live.options if old != option)
            await self._configure(each, msgspec.structs.replace(each.record.live, options=(*kept, option)))

    def tell_mtu(self) -> None:
        """Tell clients, from their next lease on, an MTU that passes the tunnels there are now."""
        for running in self._servers.values():
            self._write_live(running)

    def lease(self, mac: str) -> str:
        """The address leased to a MAC by any server; empty when none. The newest lease wins."""
        found = [lease for each in self._servers.values() if (lease := each.leases.by_mac().get(mac)) is not None]
        return max(found, key=lambda lease: lease.expires).address if found else ""

    def ids(self, namespace: str) -> list[str]:
        """The ids of the namespace's servers, for completion."""
        return [str(each.record.id) for each in self._of(namespace)]

    async def recover(self) -> None:
        """Adopt the servers that still run; forget those that do not, and end those nobody was told of."""
        known: set[Path] = set()
        for entry in self._journal.read(KIND):
            record = decode(entry, DhcpRecord)
            server = Server(self._directory(record.id))
            known.add(server.directory)
            identity = server.find()
            if identity is None:
                _log.warning("dnsmasq %d (%s) is gone", record.id, record.setup.listen or record.setup.include)
                await self._journal.write(Delete(KIND, str(record.id)))
                await server.stop()
                continue
            self._keep(record, server, identity)
        for directory in self._base.glob(f"{_PREFIX}*"):
            if directory not in known:
                await Server(directory).stop()
        self._ids = count(max(self._servers, default=-1) + 1)

    async def close(self, *, remove: bool) -> None:
        """End all servers (`remove`), or leave them for the next daemon."""
        if remove:
            async with asyncio.TaskGroup() as group:
                for running in list(self._servers.values()):
                    group.create_task(self._stop(running))
        self._watch.close()

    # inside

    async def _start(self, namespace: str, setup: Setup) -> int:
        record = DhcpRecord(next(self._ids), namespace, setup)
        server = Server(self._directory(record.id))
        try:
            identity = await server.start(setup)
        except CommandFailed as error:
            where = f' on "{setup.listen}"' if setup.listen else ""
            raise CommandFailed(f"cannot start dnsmasq{where}", hint=_hint_for(str(error), setup)) from error
        try:
            await self._journal.write(Put(KIND, str(record.id), namespace, record))
        except BaseException:
            await server.stop()
            raise
        running = self._keep(record, server, identity)
        if self._guest_mtu(setup.listen):
            self._write_live(running)
        return record.id

    def _keep(self, record: DhcpRecord, server: Server, identity: proc.Identity) -> _Running:
        running = _Running(record, server, identity, LeaseFile(server.directory / LEASES), {})
        self._servers[record.id] = running
        try:
            running.watch = self._watch.add(server.directory / LEASES, lambda: self._tell(running))
        except MegaError as error:
            _log.warning("leases of dnsmasq %d are read when asked for only: %s", record.id, chain_text(error))
        return running

    def _tell(self, running: _Running) -> None:
        """Publish the leases that are not as they were."""
        now = {mac: lease.address for mac, lease in running.leases.by_mac().items()}
        changed = [mac for mac in now.keys() | running.known.keys() if now.get(mac) != running.known.get(mac)]
        running.known = now
        if self._events is not None:
            for mac in changed:
                self._events(mac)

    async def _stop(self, running: _Running) -> None:
        self._watch.remove(running.watch)
        await running.server.stop()
        await self._journal.write(Delete(KIND, str(running.record.id)))
        self._servers.pop(running.record.id, None)

    async def _configure(self, running: _Running, live: Live) -> None:
        record = msgspec.structs.replace(running.record, live=live)
        await self._journal.write(Put(KIND, str(record.id), record.namespace, record))
        running.record = record
        self._write_live(running)

    def _write_live(self, running: _Running) -> None:
        """Write the files it reads while it runs; a long MTU is said only to take back a shorter one."""
        mtu = self._guest_mtu(running.record.setup.listen)
        if mtu or running.mtu:
            mtu = mtu or GUEST_MTU
        running.server.configure(running.record.live, mtu)
        running.mtu = mtu

    async def _bury_dead(self) -> None:
        for running in list(self._servers.values()):
            if not proc.is_alive(running.identity):
                _log.error("dnsmasq %d died, pid %d", running.record.id, running.identity.pid)
                await self._stop(running)

    async def _targets(self, namespace: str, target: str, unknown: str) -> list[_Running]:
        await self._bury_dead()
        if target == "all":
            return self._of(namespace)
        found = [each for each in self._of(namespace) if str(each.record.id) == target]
        if not found:
            there = ", ".join(self.ids(namespace)) or "none"
            raise NotFound(unknown, hint=f'no server "{target}" in namespace "{namespace}"; there are: {there}')
        return found

    def _of(self, namespace: str) -> list[_Running]:
        return [each for _, each in sorted(self._servers.items()) if each.record.namespace == namespace]

    def _directory(self, number: int) -> Path:
        return self._base / f"{_PREFIX}{number}"


_NO_ID = "invalid dnsmasq ID"


def _address(text: str) -> _Ip:
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidInput(f'invalid IP address "{text}"', hint="write it as 10.0.0.1") from None


def _file(text: str) -> str:
    if text and not Path(text).is_file():
        raise NotFound(f'no {PROGRAM} configuration file "{text}"', hint="give the path of one on this host")
    return str(Path(text).resolve()) if text else ""


def _hint_for(reason: str, setup: Setup) -> str:
    if "Cannot assign requested address" in reason:
        return f"no interface of this host has {setup.listen}; make one: tap create VLAN ip {setup.listen}/24"
    if "in use" in reason:
        return "another program, perhaps another dnsmasq, has this address and port"
    return ""
