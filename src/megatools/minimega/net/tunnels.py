"""Tunnels from bridges of this host to bridges of other hosts: single ones, and those that join a namespace's hosts.

Commands reach it through `net.operations`. What namespaces want is journaled and outlives the tunnels::

    ns bridge -> Want (journal) -> meshes.spans -> TunnelPorts: what is missing made, what is too much removed
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address

import msgspec

from megatools.hostkit import tunnels
from megatools.hostkit.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidState,
    MegaError,
    NotFound,
    Unavailable,
    chain_text,
)
from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.net.meshes import Span, Want, spans
from megatools.minimega.net.names import check_bridge
from megatools.minimega.net.switch import Switch
from megatools.minimega.net.tunnel_ports import Tunnel, TunnelPorts, is_in_userspace, room_of
from megatools.minimega.state.journal import Delete, Journal, Put, decode

_log = logging.getLogger(__name__)
WANT_KIND = "tunnel-mesh"


class Tunnels:
    """All tunnels of this host."""

    def __init__(
        self,
        *,
        switch: Switch,
        journal: Journal,
        own_address: Callable[[], str],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`own_address` is where other hosts reach us; `changed` is called when bridges got or lost tunnels."""
        self._switch = switch
        self._journal = journal
        self._own_address = own_address
        self._changed = changed
        self._ports = TunnelPorts(switch, journal)
        self._wants: dict[str, Want] = {}
        self._ending = False
        self._lock = asyncio.Lock()  # nothing below it makes bridges, whose first use comes back here
        switch.watch_bridges(self._on_bridge)

    # what operations call

    async def create(self, kind: TunnelKind, bridge: str, remote: str, key: str = "") -> str:
        """Make a tunnel from a bridge, made if missing, to another host; returns its name.

        Raises InvalidInput, AlreadyExists (to that host, or of that key), Unavailable (no address, no such tunnels).
        """
        check_bridge(bridge)
        number = parse_key(kind, key)
        ends = (self._check_remote(remote),)
        database = await self._switch.ensure_bridges([bridge])
        async with self._lock:
            self._check_single(bridge, ends[0])
            name = await self._ports.make(database, Span(bridge, kind, number, ends), self._local(), meshed=False)
        self._changed()
        return name

    async def delete(self, bridge: str, name: str) -> None:
        """Remove a tunnel from a bridge. Raises NotFound (`unknown tunnel`), InvalidInput when a namespace needs it."""
        async with self._lock:
            found = self._ports.get(name)
            if found is None or found.bridge != bridge:
                raise NotFound(f"unknown tunnel: {name}", hint=f"bridge lists the tunnels of {bridge}")
            if found.meshed:
                raise InvalidInput(f'tunnel "{name}" joins the hosts of a namespace', hint=f"ns del-bridge {bridge}")
            await self._ports.remove([found])
        self._changed()

    async def join(self, want: Want) -> None:
        """Join a bridge, made if missing, to those of a namespace's other hosts, or change to which.

        Raises InvalidInput, AlreadyExists (a single tunnel leads there), Unavailable; nothing has changed then.
        """
        check_bridge(want.bridge)
        parse_key(want.kind, str(want.key))
        want = msgspec.structs.replace(want, remotes=tuple(sorted(map(self._check_remote, want.remotes))))
        await self._switch.ensure_bridges([want.bridge])
        async with self._lock:
            if self._ending:
                raise InvalidState("this daemon is ending")
            for remote in want.remotes:
                self._check_single(want.bridge, remote, meshed=True)
            await self._change_wants({_id(want.namespace, want.bridge): want})
        self._changed()

    async def leave(self, namespace: str, bridge: str = "") -> None:
        """Let a bridge of a namespace, or all, be this host's own again; one that is not joined is not missed."""
        async with self._lock:
            gone = [key for key, want in self._wants.items() if want.namespace == namespace]
            gone = [key for key in gone if bridge in ("", self._wants[key].bridge)]
            await self._change_wants(dict.fromkeys(gone))
        self._changed()

    def wants(self) -> list[Want]:
        """What namespaces want of this host."""
        return [want for _, want in sorted(self._wants.items())]

    async def kinds(self) -> list[TunnelKind]:
        """The kinds of tunnels that can be made here."""
        if not self._switch.userspace:
            return list(TunnelKind)
        return [kind for kind in TunnelKind if await tunnels.can_make(kind)]

    # what net's other rooms call

    def on(self, bridge: str) -> list[Tunnel]:
        """The tunnels of a bridge, by name."""
        return self._ports.on(bridge)

    def is_joined(self, bridge: str) -> bool:
        """Whether a namespace spans its hosts with this bridge."""
        return any(want.bridge == bridge for want in self._wants.values())

    def bridges_in_use(self) -> frozenset[str]:
        """The bridges that have tunnels."""
        return frozenset(tunnel.bridge for tunnel in self._ports.all())

    def guest_mtu(self, bridge: str) -> int:
        """The longest packet of a guest that passes all tunnels of a bridge unfragmented; 0 when any does."""
        rooms = [room_of(tunnel) for tunnel in self.on(bridge)]
        return min([room for room in rooms if room < tunnels.GUEST_MTU], default=0)

    async def recover(self) -> None:
        """Adopt the tunnels that are still there, remove those that are half made or broken."""
        wants = [decode(record, Want) for record in self._journal.read(WANT_KIND)]
        self._wants = {_id(want.namespace, want.bridge): want for want in wants}
        async with self._lock:
            await self._ports.recover()

    async def close(self, *, remove: bool) -> None:
        """Remove all tunnels (`remove`), or leave them for the next daemon."""
        self._ending = True
        if remove:
            async with self._lock:
                await self._ports.remove(self._ports.all())
                await self._journal.write(*(Delete(WANT_KIND, key) for key in self._wants))
                self._wants.clear()

    # inside

    async def _on_bridge(self, bridge: str) -> None:
        """A bridge is used for the first time: tunnels that namespaces want, and that did not survive, are made."""
        if not self.is_joined(bridge):
            return
        try:
            async with self._lock:
                await self._reconcile(bridge)
        except MegaError as error:
            _log.error("bridge %s does not reach the other hosts: %s", bridge, chain_text(error))
        self._changed()

    async def _change_wants(self, changes: Mapping[str, Want | None]) -> None:
        """Journal what namespaces want from now on and make it so; back to before when that fails."""
        before = {key: self._wants.get(key) for key in changes}
        bridges = sorted({want.bridge for want in (*before.values(), *changes.values()) if want is not None})
        await self._keep_wants(changes)
        try:
            for bridge in bridges:
                await self._reconcile(bridge)
        except BaseException:
            await self._keep_wants(before)
            await self._back_to_wants(bridges)
            raise

    async def _back_to_wants(self, bridges: Sequence[str]) -> None:
        for bridge in bridges:
            try:
                await asyncio.shield(self._reconcile(bridge))
            except MegaError as error:
                _log.error("bridge %s is not as it was: %s", bridge, chain_text(error))

    async def _reconcile(self, bridge: str) -> None:
        """Make the tunnels of a bridge what namespaces want: as few changes as that takes."""
        present = [tunnel for tunnel in self.on(bridge) if tunnel.meshed]
        if not self.is_joined(bridge):
            await self._ports.remove(present)
            return
        database = await self._switch.database()
        local = self._local()
        plain = await is_in_userspace(database, bridge)
        missing = set(spans(self._wants.values(), bridge=bridge, one_for_all=plain))
        rest: list[Tunnel] = []
        for tunnel in present:
            usable = tunnel.ready and tunnel.local == local and tunnel.plain == plain
            if usable and tunnel.span in missing:
                missing.discard(tunnel.span)
            else:
                rest.append(tunnel)
        for span in sorted(missing):
            same = [each for each in rest if _can_become(each, span, local)]
            if same:
                rest.remove(same[0])
                missing.discard(span)
                await self._ports.redirect(same[0], span.remotes)
        await self._ports.remove(rest)
        for span in sorted(missing):
            await self._ports.make(database, span, local, meshed=True)

    def _local(self) -> str:
        address = self._own_address()
        if not address:
            raise Unavailable("this host has no address for tunnels", hint="give it one, or set -address")
        return address

    def _check_remote(self, remote: str) -> str:
        try:
            address = ip_address(remote)
        except ValueError:
            raise InvalidInput(f'invalid IP address "{remote}"', hint="the other host's, as 10.0.0.2") from None
        local = self._local()
        if address == ip_address(local):
            raise InvalidInput(f"{remote} is this host's own address", hint="give another host's")
        if address.version != ip_address(local).version:
            raise InvalidInput(f"a tunnel from {local} cannot end at {remote}", hint="both IPv4, or both IPv6")
        return str(address)

    def _check_single(self, bridge: str, remote: str, *, meshed: bool = False) -> None:
        """Two ways between the same two bridges would be a loop; a mesh looks after its own."""
        for tunnel in self.on(bridge):
            if remote in tunnel.remotes and not (meshed and tunnel.meshed):
                what = f'bridge "{bridge}" has a tunnel to {remote} already: {tunnel.name}'
                hint = f"ns del-bridge {bridge}" if tunnel.meshed else f"bridge notunnel {bridge} {tunnel.name}"
                raise AlreadyExists(what, hint=f"remove it first: {hint}")

    async def _keep_wants(self, changes: Mapping[str, Want | None]) -> None:
        writes = [
            Delete(WANT_KIND, key) if want is None else Put(WANT_KIND, key, want.namespace, want)
            for key, want in changes.items()
        ]
        await self._journal.write(*writes)
        for key, want in changes.items():
            if want is None:
                self._wants.pop(key, None)
            else:
                self._wants[key] = want


def parse_key(kind: TunnelKind, text: str) -> int:
    """A tunnel's key as a number, 0 for none. Raises InvalidInput."""
    if text and not (text.isascii() and text.isdecimal() and int(text) < kind.key_limit):
        raise InvalidInput(f'invalid key "{text}"', hint=f"0 to {kind.key_limit - 1} for {kind}")
    return int(text or 0)


def _id(namespace: str, bridge: str) -> str:
    return f"{namespace}/{bridge}"


def _can_become(tunnel: Tunnel, span: Span, local: str) -> bool:
    """Whether a device only needs other remote ends."""
    shared = tunnel.plain and tunnel.kind is span.kind is TunnelKind.VXLAN
    return shared and tunnel.ready and tunnel.key == span.key and tunnel.local == local
