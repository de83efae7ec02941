"""The tunnels of this host one by one: made and checked, redirected, removed, adopted after a crash.

For `net.tunnels`, which says which ones there shall be. How a tunnel is made depends on its bridge::

    datapath in the kernel     a tunnel port of Open vSwitch, one for each remote end
    datapath in userspace      a device of the kernel (hostkit.tunnels) as a plain port; one VXLAN device for all ends

Ports of a namespace's mesh are protected: what comes in from one host is never passed to another, so a full mesh has
no loops (decision 21). A tunnel is acknowledged once it is checked and journaled; a crash leaves nothing half made.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from itertools import count

import msgspec

from megatools.hostkit import proc, routes, taps, tunnels
from megatools.hostkit.errors import MegaError, NotFound, Unavailable, chain_text
from megatools.hostkit.ovs.database import Database
from megatools.hostkit.ovs.model import NewPort
from megatools.hostkit.tunnels import Device, TunnelKind
from megatools.minimega.net.meshes import Span
from megatools.minimega.net.network import TUNNEL_KIND
from megatools.minimega.net.switch import MARK, Switch
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
_ADD_S = 15.0


class Tunnel(msgspec.Struct, frozen=True):
    """Journal kind `tunnel`; `meshed`: for a namespace; `plain`: a device of the kernel; not `ready`: half made."""

    name: str
    bridge: str
    kind: TunnelKind
    local: str
    remotes: tuple[str, ...]
    key: int
    meshed: bool
    plain: bool
    boot_id: str
    ready: bool = False

    @property
    def device(self) -> Device:
        """The kernel's device, if it is one."""
        return Device(self.name, self.kind, self.local, self.remotes, self.key)

    @property
    def span(self) -> Span:
        """What it joins."""
        return Span(self.bridge, self.kind, self.key, self.remotes)


class TunnelPorts:
    """The tunnels there are; one change at a time (the caller's lock)."""

    def __init__(self, switch: Switch, journal: Journal) -> None:
        self._switch = switch
        self._journal = journal
        self._tunnels: dict[str, Tunnel] = {}

    def get(self, name: str) -> Tunnel | None:
        """A tunnel by name."""
        return self._tunnels.get(name)

    def all(self) -> list[Tunnel]:
        """The tunnels, by name."""
        return [tunnel for _, tunnel in sorted(self._tunnels.items())]

    def on(self, bridge: str) -> list[Tunnel]:
        """The tunnels of a bridge, by name."""
        return [tunnel for tunnel in self.all() if tunnel.bridge == bridge]

    async def recover(self) -> None:
        """Adopt the tunnels that are still there, remove those that are half made or broken."""
        self._tunnels = {record.id: decode(record, Tunnel) for record in self._journal.read(TUNNEL_KIND)}
        if not self._tunnels:
            return
        database = await self._switch.database_if_running()
        listed = {port.name for port in await database.ports()} if database is not None else set[str]()
        broken = [tunnel for tunnel in self.all() if not _is_whole(tunnel, listed)]
        if broken:
            _log.warning("removing tunnels that did not survive: %s", ", ".join(each.name for each in broken))
            await self.remove(broken)

    async def make(self, database: Database, span: Span, local: str, *, meshed: bool) -> str:
        """Make a tunnel from our address on a bridge that exists; returns its name. Raises as `tunnels.create` does."""
        plain = await is_in_userspace(database, span.bridge)
        if meshed and not await database.has_protected_ports():  # rapid spanning tree is no way out: decision 21
            what = "this Open vSwitch is too old to join several hosts: it has no protected ports"
            raise Unavailable(what, hint="use a newer one, or single tunnels in a line or a star: bridge tunnel")
        name = await self._new_name(database, span.kind)
        boot = proc.boot_id()
        tunnel = Tunnel(name, span.bridge, span.kind, local, span.remotes, span.key, meshed, plain, boot)
        ids = {MARK: self._switch.mark}
        await self._keep(tunnel)
        try:
            if plain:
                await tunnels.create(tunnel.device)
                port = NewPort(name, span.bridge, ids=ids, protected=meshed)
            else:
                kind, options = str(span.kind), port_options(tunnel)
                port = NewPort(name, span.bridge, type=kind, ids=ids, options=options, protected=meshed)
            await database.add_ports([port], timeout_s=_ADD_S)
            await self._keep(msgspec.structs.replace(tunnel, ready=True))
        except BaseException:
            await self._undo(tunnel)
            raise
        return name

    async def redirect(self, tunnel: Tunnel, remotes: tuple[str, ...]) -> None:
        """Give a device other remote ends; what carried frames to those that stay goes on."""
        await self._keep(msgspec.structs.replace(tunnel, remotes=remotes, ready=False))
        await tunnels.change_remotes(tunnel.device, remotes)
        await self._keep(msgspec.structs.replace(tunnel, remotes=remotes))

    async def remove(self, unwanted: Sequence[Tunnel]) -> None:
        """Remove tunnels, whatever is left of them."""
        if not unwanted:
            return
        names = [tunnel.name for tunnel in unwanted]
        database = await self._switch.database_if_running()
        if database is not None:
            await database.remove_ports(names, wait=True)
        for tunnel in unwanted:
            if tunnel.plain:
                await tunnels.delete(tunnel.name)
        await self._journal.write(*(Delete(TUNNEL_KIND, name) for name in names))
        for name in names:
            self._tunnels.pop(name, None)

    async def _undo(self, tunnel: Tunnel) -> None:
        try:
            await asyncio.shield(self.remove([tunnel]))
        except MegaError as error:
            _log.error("cannot remove the half-made tunnel %s: %s", tunnel.name, chain_text(error))

    async def _new_name(self, database: Database, kind: TunnelKind) -> str:
        taken = {*self._tunnels, *taps.names(), *(port.name for port in await database.ports())}
        return next(name for number in count() if (name := f"mega_{kind}{number}") not in taken)

    async def _keep(self, tunnel: Tunnel) -> None:
        await self._journal.write(Put(TUNNEL_KIND, tunnel.name, "", tunnel))
        self._tunnels[tunnel.name] = tunnel


def port_options(tunnel: Tunnel) -> dict[str, str]:
    """The options of a tunnel port of Open vSwitch: packets that are too long are fragmented on the way."""
    (remote,) = tunnel.remotes
    options = {"remote_ip": remote, "local_ip": tunnel.local, "df_default": "false"}
    return {**options, "key": str(tunnel.key)} if tunnel.key else options


async def is_in_userspace(database: Database, bridge: str) -> bool:
    """Whether a bridge's datapath is in userspace, and takes devices of the kernel as tunnels."""
    rows = [row for row in await database.bridges() if row.name == bridge]
    return bool(rows) and rows[0].datapath_type == "netdev"


def room_of(tunnel: Tunnel) -> int:
    """The longest packet of a guest that goes through in one piece; any, when this host has changed its address."""
    try:
        mtu = routes.mtu_of(routes.interface_of(tunnel.local))
    except NotFound:
        return tunnels.GUEST_MTU
    return tunnels.room_within(mtu, tunnel.kind, ip_address(tunnel.local).version, tunnel.key)


def _is_whole(tunnel: Tunnel, listed: Collection[str]) -> bool:
    there = tunnel.name in listed and (not tunnel.plain or taps.exists(tunnel.name))
    return there and tunnel.ready and tunnel.boot_id == proc.boot_id()
