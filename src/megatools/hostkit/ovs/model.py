"""The Open vSwitch database in our words: rows in, transactions out (RFC 7047 section 5.2, ovs-vswitchd.conf.db(5)).

Pure: for `hostkit.ovs.database` and tests. A set of one value is sent as a plain value, and a port is deleted by
taking it out of its bridge's set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NewType, TypeAlias, cast

import msgspec

from megatools.hostkit.errors import AlreadyExists, CommandFailed, InvalidInput, MegaError

Uuid = NewType("Uuid", str)
Op: TypeAlias = dict[str, object]
Row: TypeAlias = dict[str, object]
DATABASE = "Open_vSwitch"
_IDENTICAL = re.compile(r'identical values \((.*?)\) for index on column "name"')
_SWITCHES = ("stp_enable", "rstp_enable", "mcast_snooping_enable")


class Result(msgspec.Struct):
    """The result of one operation of a transaction."""

    uuid: tuple[str, str] | None = None
    rows: list[Row] | None = None
    count: int | None = None
    error: str | None = None
    details: str | None = None


class NewPort(msgspec.Struct, frozen=True):
    """A port to be added: a device of the host (`type` empty), an internal port, or a tunnel with its options.

    Without a tag it carries all VLANs. What comes in at a protected port never leaves by another one.
    """

    name: str
    bridge: str
    tag: int | None = None
    type: str = ""
    ids: Mapping[str, str] = {}
    options: Mapping[str, str] = {}
    protected: bool = False


class PortRow(msgspec.Struct, frozen=True):
    """A port as the database has it."""

    uuid: Uuid
    name: str
    tag: int | None
    ids: dict[str, str]


class InterfaceRow(msgspec.Struct, frozen=True):
    """What ovs-vswitchd made of an interface: `ofport` is -1 or None and `error` says why when it failed."""

    name: str
    ofport: int | None
    error: str


class BridgeRow(msgspec.Struct, frozen=True):
    """A bridge as the database has it."""

    uuid: Uuid
    name: str
    ports: tuple[Uuid, ...]
    datapath_type: str
    ids: dict[str, str]
    config: dict[str, str]


def set_of(value: object) -> list[object]:
    """A column's values; a plain value is a set of one."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        if len(items) == 2 and items[0] == "set":
            return cast("list[object]", items[1])
    return [value]


def optional(value: object) -> object | None:
    """The value of a column of at most one value."""
    values = set_of(value)
    return values[0] if values else None


def map_of(value: object) -> dict[str, str]:
    """A column of string pairs."""
    pairs = cast("tuple[str, list[tuple[str, str]]]", value)[1]
    return dict(pairs)


def uuid_of(value: object) -> Uuid:
    """A plain reference."""
    return Uuid(cast("tuple[str, str]", value)[1])


def as_map(pairs: Mapping[str, str]) -> object:
    """A map in the form of the wire."""
    return ["map", [[key, pairs[key]] for key in sorted(pairs)]]


def as_uuids(uuids: Iterable[Uuid]) -> object:
    """A set of references in the form of the wire."""
    return ["set", [["uuid", uuid] for uuid in uuids]]


def port_row(row: Row) -> PortRow:
    """Columns `_uuid`, `name`, `tag`, `external_ids` of table Port."""
    tag = optional(row["tag"])
    name = cast(str, row["name"])
    return PortRow(uuid_of(row["_uuid"]), name, cast("int | None", tag), map_of(row["external_ids"]))


def interface_row(row: Row) -> InterfaceRow:
    """Columns `name`, `ofport`, `error` of table Interface."""
    ofport = cast("int | None", optional(row["ofport"]))
    return InterfaceRow(cast(str, row["name"]), ofport, cast("str | None", optional(row["error"])) or "")


def bridge_row(row: Row) -> BridgeRow:
    """Columns `_uuid`, `name`, `ports`, `datapath_type`, `external_ids`, `other_config` of table Bridge."""
    return BridgeRow(
        uuid_of(row["_uuid"]),
        cast(str, row["name"]),
        tuple(uuid_of(port) for port in set_of(row["ports"])),
        cast(str, row["datapath_type"]),
        map_of(row["external_ids"]),
        map_of(row["other_config"]),
    )


PORT_COLUMNS = ("_uuid", "name", "tag", "external_ids")
INTERFACE_COLUMNS = ("name", "ofport", "error")
BRIDGE_COLUMNS = ("_uuid", "name", "ports", "datapath_type", "external_ids", "other_config")


def select(table: str, columns: Sequence[str], where: Sequence[object] = ()) -> Op:
    """Read rows."""
    return {"op": "select", "table": table, "where": list(where), "columns": list(columns)}


def includes(key: str, value: str) -> list[object]:
    """The condition that a row's external ids hold this pair."""
    return ["external_ids", "includes", as_map({key: value})]


def bump() -> list[Op]:
    """Ask ovs-vswitchd to say when it has applied everything; the last result holds the number to wait for."""
    return [
        {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
        select("Open_vSwitch", ("next_cfg",)),
    ]


def add_ports(ports: Sequence[NewPort]) -> list[Op]:
    """Add ports to bridges that exist: two inserts a port, one mutation a bridge."""
    ops: list[Op] = []
    members: dict[str, list[object]] = {}
    for number, port in enumerate(ports):
        interface, row = f"i{number}", f"p{number}"
        ids = as_map(port.ids)
        what: Row = {"name": port.name, "external_ids": ids}
        if port.type:
            what["type"] = port.type
        if port.options:
            what["options"] = as_map(port.options)
        ops.append({"op": "insert", "table": "Interface", "uuid-name": interface, "row": what})
        what = {"name": port.name, "external_ids": ids, "interfaces": ["named-uuid", interface]}
        if port.tag is not None:
            what["tag"] = port.tag
        if port.protected:
            what["protected"] = True
        ops.append({"op": "insert", "table": "Port", "uuid-name": row, "row": what})
        members.setdefault(port.bridge, []).append(["named-uuid", row])
    for bridge, rows in members.items():
        ops.append(_mutate_bridge(bridge, "insert", ["set", rows]))
    return ops


def remove_ports(members: Mapping[str, Sequence[Uuid]]) -> list[Op]:
    """Take ports out of their bridges; bridge name -> ports."""
    return [_mutate_bridge(bridge, "delete", as_uuids(uuids)) for bridge, uuids in members.items()]


def set_tag(port: Uuid, tag: int) -> Op:
    """Move a port to another VLAN."""
    return {"op": "update", "table": "Port", "where": [["_uuid", "==", ["uuid", port]]], "row": {"tag": tag}}


def add_bridge(name: str, datapath_type: str, ids: Mapping[str, str]) -> list[Op]:
    """Create a bridge with its local port."""
    pairs = as_map(ids)
    return [
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": "i",
            "row": {"name": name, "type": "internal", "external_ids": pairs},
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": "p",
            "row": {"name": name, "interfaces": ["named-uuid", "i"], "external_ids": pairs},
        },
        {
            "op": "insert",
            "table": "Bridge",
            "uuid-name": "b",
            "row": {
                "name": name,
                "ports": ["named-uuid", "p"],
                "datapath_type": datapath_type,
                "external_ids": pairs,
            },
        },
        {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["bridges", "insert", ["set", [["named-uuid", "b"]]]]],
        },
    ]


def remove_bridges(bridges: Sequence[Uuid]) -> Op:
    """Delete bridges and all their ports."""
    return {
        "op": "mutate",
        "table": "Open_vSwitch",
        "where": [],
        "mutations": [["bridges", "delete", as_uuids(bridges)]],
    }


def set_config(bridge: str, key: str, value: str) -> Op:
    """Switch a feature of a bridge on or off, or set a key of its other_config; raises InvalidInput."""
    where = [["name", "==", bridge]]
    if key in _SWITCHES:
        if value not in ("true", "false"):
            raise InvalidInput(f'{key} takes "true" or "false", not "{value}"')
        return {"op": "update", "table": "Bridge", "where": where, "row": {key: value == "true"}}
    key = key.removeprefix("other_config:").removeprefix("other-config:")
    changes = [["other_config", "delete", ["set", [key]]], ["other_config", "insert", as_map({key: value})]]
    return {"op": "mutate", "table": "Bridge", "where": where, "mutations": changes}


def failure_of(results: Sequence[Result | None]) -> MegaError | None:
    """Why a transaction failed; None when all of it was done. Per-operation errors sit inside the result."""
    for result in results:
        if result is not None and result.error is not None:
            if taken := _IDENTICAL.search(result.details or ""):
                return AlreadyExists(
                    f'the Open vSwitch database has a port "{taken[1]}" already', hint="take another name"
                )
            text = f"{result.error}: {result.details}" if result.details else result.error
            return CommandFailed(f"the Open vSwitch database refused the change: {text}")
    return None


def _mutate_bridge(bridge: str, how: str, ports: object) -> Op:
    return {
        "op": "mutate",
        "table": "Bridge",
        "where": [["name", "==", bridge]],
        "mutations": [["ports", how, ports]],
    }
