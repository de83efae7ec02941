"""The bridges of the switch: listed with all that is on them, configured, and those of ours destroyed.

Commands reach it through `net.operations`. Listing makes nothing and starts nothing.
"""

from __future__ import annotations

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound
from megatools.minimega.net.host_taps import HostTaps
from megatools.minimega.net.names import check_bridge
from megatools.minimega.net.network import Network
from megatools.minimega.net.switch import Switch
from megatools.minimega.net.trunks import Trunks
from megatools.minimega.net.tunnels import Tunnels


class BridgeRow(msgspec.Struct, frozen=True):
    """A bridge; `vlans` are the tags of our ports on it, `trunks` and `tunnels` the names of ours."""

    bridge: str
    preexisting: bool
    vlans: tuple[int, ...]
    trunks: tuple[str, ...]
    tunnels: tuple[str, ...]
    bonds: tuple[str, ...]
    config: dict[str, str]


class Bridges:
    """All bridges of the switch this daemon uses."""

    def __init__(
        self, *, switch: Switch, network: Network, host_taps: HostTaps, trunks: Trunks, tunnels: Tunnels
    ) -> None:
        self._trunks = trunks
        self._tunnels = tunnels
        self._switch = switch
        self._network = network
        self._host_taps = host_taps

    async def rows(self) -> list[BridgeRow]:
        """Every bridge there is, by name; none when no switch runs."""
        database = await self._switch.database_if_running()
        if database is None:
            return []
        ours = self._switch.ours
        return [
            BridgeRow(
                bridge=row.name,
                preexisting=row.name not in ours,
                vlans=self._vlans(row.name),
                trunks=tuple(self._trunks.on(row.name)),
                tunnels=tuple(tunnel.name for tunnel in self._tunnels.on(row.name)),
                bonds=(),
                config=row.config,
            )
            for row in await database.bridges()
        ]

    async def configure(self, name: str, setting: str) -> None:
        """Set `key=value` on a bridge, made if missing. Raises InvalidInput (`expected key=value`)."""
        key, separator, value = setting.partition("=")
        if not key or not separator:
            raise InvalidInput("expected key=value", hint=f'got "{setting}"')
        check_bridge(name)
        database = await self._switch.ensure_bridges([name])
        await database.set_bridge_config(name, key, value)

    async def destroy(self, name: str) -> None:
        """Remove a bridge that this daemon made and nothing uses. Raises NotFound, InvalidState."""
        database = await self._switch.database_if_running()
        found = [row for row in await database.bridges() if row.name == name] if database is not None else []
        if not found:
            raise NotFound(f"bridge not found: {name}", hint="see bridge")
        if name not in self._switch.ours:
            raise InvalidState(
                f'bridge "{name}" existed before minimega', hint=f"remove it with: ovs-vsctl del-br {name}"
            )
        used = self._used(name)
        if used or len(found[0].ports) > 1:
            names = ", ".join(used[:5]) or "ports that are not ours"
            raise InvalidState(
                f'bridge "{name}" is in use: {names}', hint="remove the taps, VMs, trunks and tunnels on it first"
            )
        await self._switch.destroy_bridge(name)

    async def destroy_unused(self, name: str) -> None:
        """Remove a bridge of ours that has nothing on it; any other stays."""
        database = await self._switch.database_if_running() if name in self._switch.ours else None
        if database is None or self._used(name):
            return
        if any(row.name == name and len(row.ports) <= 1 for row in await database.bridges()):
            await self._switch.destroy_bridge(name)

    def _used(self, name: str) -> list[str]:
        """The names of what is ours on a bridge."""
        links = [*self._trunks.on(name), *(tunnel.name for tunnel in self._tunnels.on(name))]
        return [*self._network.taps_on(name), *self._host_taps.taps_on(name), *links]

    def _vlans(self, name: str) -> tuple[int, ...]:
        return tuple(sorted(self._network.vlans_in_use(name) | self._host_taps.vlans_in_use(name)))
