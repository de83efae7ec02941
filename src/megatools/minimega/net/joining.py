"""What `cluster` needs of a host to join a namespace's hosts with one bridge: how things are here, and changes.

`cluster.bridging` decides; `app` hands it a `Joining`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.net.bridges import Bridges
from megatools.minimega.net.meshes import Want
from megatools.minimega.net.trunks import Trunks
from megatools.minimega.net.tunnels import Tunnels


class BridgeEnd(msgspec.Struct, frozen=True):
    """A bridge as one host has it: where tunnels to it end, and what leads from it to other hosts already.

    `kinds` are the tunnels this host can make; `singles` the remote ends of tunnels that no namespace asked for.
    """

    address: str
    kinds: tuple[TunnelKind, ...]
    trunks: tuple[str, ...]
    singles: tuple[str, ...]


class Joining:
    """The bridges of this host, as far as they are joined with those of other hosts."""

    def __init__(self, *, tunnels: Tunnels, trunks: Trunks, bridges: Bridges, own_address: Callable[[], str]) -> None:
        self._tunnels = tunnels
        self._trunks = trunks
        self._bridges = bridges
        self._own_address = own_address

    def address(self) -> str:
        """Where other hosts reach this one now; empty: nowhere."""
        return self._own_address()

    async def end(self, bridge: str) -> BridgeEnd:
        """How things are here."""
        singles = [remote for each in self._tunnels.on(bridge) if not each.meshed for remote in each.remotes]
        kinds = tuple(await self._tunnels.kinds())
        return BridgeEnd(self.address(), kinds, tuple(self._trunks.on(bridge)), tuple(singles))

    def wants(self, namespace: str) -> list[Want]:
        """What a namespace has been joined to."""
        return [want for want in self._tunnels.wants() if want.namespace == namespace]

    def namespaces(self) -> set[str]:
        """The namespaces that are joined to other hosts."""
        return {want.namespace for want in self._tunnels.wants()}

    async def join(self, want: Want) -> None:
        """Join a bridge, made if missing. Raises as `Tunnels.join` does."""
        await self._tunnels.join(want)

    async def leave(self, namespace: str, bridge: str) -> None:
        """Let a bridge be this host's own again; one of ours that nothing is left on goes."""
        await self._tunnels.leave(namespace, bridge)
        await self._bridges.destroy_unused(bridge)
