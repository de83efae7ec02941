"""What hosts can be asked to do with bridges, trunks and tunnels, and which function does it.

Commands make these; `net.operations` registers the handlers with the rest of `net`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.lang.answer import Answer, Table, rows_table
from megatools.minimega.lang.operation import Handlers, Operation, Reach
from megatools.minimega.net.bridges import BridgeRow
from megatools.minimega.net.stack import NetworkStack


class ListBridges(Operation, frozen=True):
    """List all bridges."""

    reach: ClassVar[Reach] = Reach.LOCAL
    reads: ClassVar[bool] = True


class ConfigureBridge(Operation, frozen=True):
    """Set `key=value` on a bridge."""

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str
    setting: str


class DestroyBridge(Operation, frozen=True):
    """Remove a bridge of ours."""

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str


class AddTrunk(Operation, frozen=True):
    """Plug a network card into a bridge."""

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str
    interface: str


class RemoveTrunk(Operation, frozen=True):
    """Take a network card off a bridge."""

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str
    interface: str


class AddTunnel(Operation, frozen=True):
    """Join a bridge to one of another host; an empty key is none."""

    reach: ClassVar[Reach] = Reach.LOCAL

    kind: TunnelKind
    bridge: str
    remote: str
    key: str = ""


class RemoveTunnel(Operation, frozen=True):
    """Remove a tunnel from a bridge."""

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str
    name: str


def bridge_handlers(stack: NetworkStack) -> Handlers:
    """The functions that carry these operations out on this host."""
    return {**_bridges(stack), **_links(stack)}


def _bridges(stack: NetworkStack) -> Handlers:
    bridges, vlans = stack.bridges, stack.vlans

    async def list_bridges(namespace: str, _: ListBridges) -> Answer:
        table = rows_table(BridgeRow, rows := await bridges.rows())
        at = table.header.index("vlans")
        labelled = tuple(
            (*cells[:at], _list([vlans.label(namespace, tag) for tag in row.vlans]), *cells[at + 1 :])
            for cells, row in zip(table.rows, rows, strict=True)
        )
        return Answer(table=Table(table.header, labelled))

    async def configure(_: str, operation: ConfigureBridge) -> Answer:
        await bridges.configure(operation.bridge, operation.setting)
        return Answer()

    async def destroy(_: str, operation: DestroyBridge) -> Answer:
        await bridges.destroy(operation.bridge)
        return Answer()

    return {ListBridges: list_bridges, ConfigureBridge: configure, DestroyBridge: destroy}


def _links(stack: NetworkStack) -> Handlers:
    async def add_trunk(_: str, operation: AddTrunk) -> Answer:
        await stack.trunks.add(operation.bridge, operation.interface)
        return Answer()

    async def remove_trunk(_: str, operation: RemoveTrunk) -> Answer:
        await stack.trunks.remove(operation.bridge, operation.interface)
        return Answer()

    async def add_tunnel(_: str, operation: AddTunnel) -> Answer:
        return Answer(await stack.tunnels.create(operation.kind, operation.bridge, operation.remote, operation.key))

    async def remove_tunnel(_: str, operation: RemoveTunnel) -> Answer:
        await stack.tunnels.delete(operation.bridge, operation.name)
        return Answer()

    return {AddTrunk: add_trunk, RemoveTrunk: remove_trunk, AddTunnel: add_tunnel, RemoveTunnel: remove_tunnel}


def _list(items: Sequence[str]) -> str:
    return f"[{', '.join(items)}]"
