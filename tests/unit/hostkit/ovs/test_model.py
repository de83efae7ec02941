"""Transactions are built as RFC 7047 and the switch's schema want them, and rows are read back."""

import pytest

from megatools.hostkit.errors import AlreadyExists, CommandFailed, InvalidInput
from megatools.hostkit.ovs import model
from megatools.hostkit.ovs.model import NewPort, Result, Uuid


def test_many_ports_are_one_mutation_per_bridge() -> None:
    ports = [NewPort("t1", "a", 5), NewPort("t2", "b", None, "internal"), NewPort("t3", "a", 6, ids={"k": "v"})]
    ops = model.add_ports(ports)
    assert [op["op"] for op in ops] == ["insert"] * 6 + ["mutate"] * 2
    assert ops[1]["row"] == {"name": "t1", "external_ids": ["map", []], "interfaces": ["named-uuid", "i0"], "tag": 5}
    assert ops[2]["row"] == {"name": "t2", "external_ids": ["map", []], "type": "internal"}
    assert "tag" not in ops[3]["row"]  # type: ignore[operator]
    assert ops[5]["row"]["external_ids"] == ["map", [["k", "v"]]]  # type: ignore[index]
    assert ops[6]["mutations"] == [["ports", "insert", ["set", [["named-uuid", "p0"], ["named-uuid", "p2"]]]]]
    assert ops[7]["where"] == [["name", "==", "b"]]


def test_a_tunnel_has_options_and_may_be_protected() -> None:
    options = {"remote_ip": "10.0.0.2", "key": "7"}
    interface, port, _ = model.add_ports([NewPort("t", "b", type="gre", options=options, protected=True)])
    assert interface["row"]["type"] == "gre"  # type: ignore[index]
    assert interface["row"]["options"] == ["map", [["key", "7"], ["remote_ip", "10.0.0.2"]]]  # type: ignore[index]
    assert port["row"]["protected"] is True  # type: ignore[index]
    _, plain, _ = model.add_ports([NewPort("t", "b")])
    assert "protected" not in plain["row"]  # type: ignore[operator]


def test_a_set_of_one_is_a_plain_value() -> None:
    assert model.set_of(["set", []]) == []
    assert model.set_of(["set", [["uuid", "x"], ["uuid", "y"]]]) == [["uuid", "x"], ["uuid", "y"]]
    assert model.set_of(["uuid", "x"]) == [["uuid", "x"]]
    assert model.set_of(7) == [7]
    assert model.optional(["set", []]) is None


def test_rows_are_read() -> None:
    row = {
        "_uuid": ["uuid", "u"],
        "name": "br",
        "ports": ["uuid", "p"],
        "datapath_type": "netdev",
        "external_ids": ["map", [["a", "b"]]],
        "other_config": ["map", []],
    }
    bridge = model.bridge_row(row)
    assert (bridge.uuid, bridge.ports, bridge.ids, bridge.config) == (Uuid("u"), (Uuid("p"),), {"a": "b"}, {})
    interface = model.interface_row({"name": "t", "ofport": ["set", []], "error": "no such device"})
    assert (interface.ofport, interface.error) == (None, "no such device")
    port = model.port_row({"_uuid": ["uuid", "u"], "name": "t", "tag": 3, "external_ids": ["map", []]})
    assert port.tag == 3


def test_errors_inside_the_result_are_found() -> None:
    assert model.failure_of([Result(count=1), None]) is None
    details = (
        'Transaction causes multiple rows in "Port" table to have identical values (t1) for index on column "name".'
    )
    taken = Result(error="constraint violation", details=details)
    assert isinstance(model.failure_of([Result(count=1), taken]), AlreadyExists)
    assert isinstance(model.failure_of([Result(error="resources exhausted")]), CommandFailed)


def test_bridge_switches_take_true_and_false_only() -> None:
    assert model.set_config("b", "stp_enable", "true")["row"] == {"stp_enable": True}
    with pytest.raises(InvalidInput, match=r"stp_enable"):
        model.set_config("b", "stp_enable", "yes")
    assert model.set_config("b", "other_config:x", "y")["mutations"] == [
        ["other_config", "delete", ["set", ["x"]]],
        ["other_config", "insert", ["map", [["x", "y"]]]],
    ]
