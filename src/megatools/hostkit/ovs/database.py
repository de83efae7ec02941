"""One Open vSwitch as records and verbs: bridges, ports, tags; every change is checked after it was applied.

Anyone may use it. A change is one transaction with `next_cfg` bumped; it is applied when ovs-vswitchd has
raised `cur_cfg` to that number, and only then do `Interface.error` and `ofport` tell the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec

from megatools.hostkit.errors import AlreadyExists, CommandFailed, NotFound, Unavailable
from megatools.hostkit.ovs import model, wire
from megatools.hostkit.ovs.model import BridgeRow, InterfaceRow, NewPort, Op, PortRow, Result, Uuid

_TRANSACTION_S = 15.0
_REMOVE_EACH_S = 0.1
_BATCH_ID = "megatools-batch"


class _CurCfg(msgspec.Struct):
    cur_cfg: int


class _RowUpdate(msgspec.Struct):
    new: _CurCfg | None = None


class _Update(msgspec.Struct, rename={"rows": "Open_vSwitch"}):
    rows: dict[str, _RowUpdate] = {}


class Database:
    """A connection to one Open vSwitch."""

    def __init__(self) -> None:
        self._connection: wire.Connection | None = None
        self._applied = -1
        self._applied_changed = asyncio.Event()
        self._batch = 0

    @classmethod
    async def open(cls, socket: Path, *, timeout_s: float = 5.0) -> Database:
        """Connect; raises Unavailable when no database answers at this socket."""
        self = cls()
        self._connection = await wire.connect(socket, self._on_update, timeout_s=timeout_s)
        request = [model.DATABASE, "cur_cfg", {"Open_vSwitch": {"columns": ["cur_cfg"]}}]
        self._note(await self._connection.call("monitor", request, _Update, timeout_s=timeout_s))
        return self

    @property
    def is_open(self) -> bool:
        """Whether the database can be asked."""
        return self._connection is not None and self._connection.is_open

    def close(self) -> None:
        """Close the connection; nothing else changes."""
        if self._connection is not None:
            self._connection.close()

    # reading

    async def bridges(self) -> list[BridgeRow]:
        """Every bridge, by name."""
        rows = await self._rows(model.select("Bridge", model.BRIDGE_COLUMNS))
        return sorted((model.bridge_row(row) for row in rows), key=lambda bridge: bridge.name)

    async def ports(self, *, key: str = "", value: str = "") -> list[PortRow]:
        """Every port, or those with this pair among their external ids."""
        where = [model.includes(key, value)] if key else []
        rows = await self._rows(model.select("Port", model.PORT_COLUMNS, where))
        return [model.port_row(row) for row in rows]

    async def interface(self, name: str) -> InterfaceRow | None:
        """What became of an interface."""
        rows = await self._rows(model.select("Interface", model.INTERFACE_COLUMNS, [["name", "==", name]]))
        return model.interface_row(rows[0]) if rows else None

    async def has_protected_ports(self) -> bool:
        """Whether ports can be protected; old versions know no such thing."""
        try:
            await self._rows(model.select("Port", ("protected",), [["name", "==", ""]]))
        except CommandFailed:
            return False
        return True

    async def initialise(self) -> None:
        """Give a new, empty database its one root row, as `ovs-vsctl init` does."""
        if not await self._rows(model.select("Open_vSwitch", ("_uuid",))):
            await self._transact([{"op": "insert", "table": "Open_vSwitch", "row": {}}])

    async def responds(self, *, timeout_s: float) -> bool:
        """Whether ovs-vswitchd applies changes in time."""
        try:
            await self._apply([], timeout_s=timeout_s)
        except Unavailable:
            return False
        return True

    # changing

    async def add_ports(self, ports: Sequence[NewPort], *, timeout_s: float) -> dict[str, Uuid]:
        """Add ports in one transaction and check what became of them; port name -> row. All or nothing.

        Raises AlreadyExists, NotFound (bridge), CommandFailed (ovs-vswitchd could not make one), Unavailable.
        """
        self._batch += 1
        batch = f"{id(self):x}.{self._batch}"
        marked = [msgspec.structs.replace(port, ids={**port.ids, _BATCH_ID: batch}) for port in ports]
        ops = model.add_ports(marked)
        try:
            results = await self._apply(ops, timeout_s=timeout_s)
        except Unavailable:
            await self._forget_batch(batch)
            raise
        await self._check(batch, [port.name for port in ports], results[2 * len(ports) : len(ops)])
        inserted = [result.uuid for result in results[1 : 2 * len(ports) : 2] if result is not None]
        return {port.name: Uuid(uuid[1]) for port, uuid in zip(ports, inserted, strict=True) if uuid is not None}

    async def remove_ports(self, names: Sequence[str], *, wait: bool = False) -> None:
        """Take ports out of the database in one transaction; ovs-vswitchd follows behind (12-17 ms each).

        Ports that are not there are not missed. With `wait` it returns when ovs-vswitchd is done.
        """
        if not names:
            return
        wanted = set(names)
        found = {port.uuid for port in await self.ports() if port.name in wanted}
        members: dict[str, list[Uuid]] = {}
        for bridge in await self.bridges():
            if inside := [uuid for uuid in bridge.ports if uuid in found]:
                members[bridge.name] = inside
        if members and wait:
            await self._apply(model.remove_ports(members), timeout_s=_TRANSACTION_S + _REMOVE_EACH_S * len(names))
        elif members:
            await self._transact(model.remove_ports(members))

    async def set_tags(self, tags: Mapping[str, int]) -> None:
        """Move ports to other VLANs, in one transaction; raises NotFound when one does not exist."""
        rows = {port.name: port.uuid for port in await self.ports() if port.name in tags}
        for name in tags:
            if name not in rows:
                raise NotFound(f'no port "{name}" on any bridge')
        await self._apply([model.set_tag(rows[name], tag) for name, tag in tags.items()], timeout_s=_TRANSACTION_S)

    async def add_bridge(self, name: str, datapath_type: str, ids: Mapping[str, str]) -> None:
        """Create a bridge and wait until its local interface exists; nothing is left when it cannot be made."""
        if any(bridge.name == name for bridge in await self.bridges()):
            raise AlreadyExists(f'bridge "{name}" exists already')
        try:
            await self._apply(model.add_bridge(name, datapath_type, ids), timeout_s=_TRANSACTION_S)
            row = await self.interface(name)
            if row is None or row.error or row.ofport in (None, -1):
                raise CommandFailed(f'cannot make bridge "{name}": {row.error if row else "it vanished"}')
        except (CommandFailed, Unavailable):
            await self.remove_bridges([name])
            raise

    async def remove_bridges(self, names: Sequence[str]) -> None:
        """Delete bridges with all their ports; those that are not there are not missed."""
        if found := [bridge.uuid for bridge in await self.bridges() if bridge.name in names]:
            await self._transact([model.remove_bridges(found)])

    async def set_bridge_config(self, name: str, key: str, value: str) -> None:
        """Set `stp_enable`, `rstp_enable`, `mcast_snooping_enable`, or else a key of a bridge's other_config.

        Raises NotFound when there is no such bridge, InvalidInput when a switch is neither `true` nor `false`.
        """
        results = await self._apply([model.set_config(name, key, value)], timeout_s=_TRANSACTION_S)
        if results[0] is not None and results[0].count == 0:
            raise NotFound(f"bridge not found: {name}")

    # inside

    async def _check(self, batch: str, names: Sequence[str], mutations: Sequence[Result | None]) -> None:
        if any(result is not None and not result.count for result in mutations):
            raise NotFound("one of the bridges for the new ports does not exist")
        rows = await self._rows(model.select("Interface", model.INTERFACE_COLUMNS, [model.includes(_BATCH_ID, batch)]))
        made = {row.name: row for row in map(model.interface_row, rows)}
        bad: list[str] = []
        for name in names:
            row = made.get(name)
            if row is None:
                bad.append(f'port "{name}" vanished')
            elif row.error or row.ofport in (None, -1):
                bad.append(row.error or f'port "{name}" got no OpenFlow number')
        if bad:
            await self._forget_batch(batch)
            more = f" (and {len(bad) - 3} more)" if len(bad) > 3 else ""
            what = f"{len(bad)} of {len(names)} ports"
            raise CommandFailed(f"Open vSwitch could not make {what}: {'; '.join(bad[:3])}{more}")

    async def _forget_batch(self, batch: str) -> None:
        if self.is_open:
            await self.remove_ports([port.name for port in await self.ports(key=_BATCH_ID, value=batch)])

    async def _rows(self, op: Op) -> list[model.Row]:
        (result,) = await self._transact([op])
        return (result.rows if result is not None else None) or []

    async def _transact(self, ops: Sequence[Op]) -> list[Result | None]:
        if self._connection is None:
            raise Unavailable("the Open vSwitch database is not connected")
        params: list[object] = [model.DATABASE, *ops]
        results = await self._connection.call("transact", params, list[Result | None], timeout_s=_TRANSACTION_S)
        failure = model.failure_of(results)
        if failure is not None:
            raise failure
        return results

    async def _apply(self, ops: Sequence[Op], *, timeout_s: float) -> list[Result | None]:
        """Transact, and wait until ovs-vswitchd has applied it."""
        results = await self._transact([*ops, *model.bump()])
        last = results[-1]
        wanted = cast(int, last.rows[0]["next_cfg"]) if last is not None and last.rows else 0
        try:
            async with asyncio.timeout(timeout_s):
                while self._applied < wanted:
                    if not self.is_open:
                        raise Unavailable("the Open vSwitch database went away")
                    self._applied_changed.clear()
                    await self._applied_changed.wait()
        except TimeoutError as error:
            raise Unavailable(
                f"ovs-vswitchd did not apply the change within {timeout_s:g} s", hint="is ovs-vswitchd running?"
            ) from error
        return results

    def _on_update(self, params: bytes) -> None:
        _, update = msgspec.json.decode(params, type=tuple[str, _Update])
        self._note(update)

    def _note(self, update: _Update) -> None:
        for row in update.rows.values():
            if row.new is not None:
                self._applied = max(self._applied, row.new.cur_cfg)
        self._applied_changed.set()
