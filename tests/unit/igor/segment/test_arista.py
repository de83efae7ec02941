"""What is said to an Arista switch, and what its answers mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import CommandFailed, InvalidInput, ProtocolError
from megatools.igor.model.config import SegmentConfig
from megatools.igor.segment import arista, choice
from megatools.igor.segment.driver import Port

PORTS = [Port("kn1", "Ethernet1"), Port("kn2", "Et2/1")]


def test_joining_makes_the_vlan_and_tunnels() -> None:
    assert arista.join_commands(PORTS, 101, tunnel=True) == [
        "enable",
        "configure",
        "vlan 101",
        "interface Ethernet1",
        "switchport mode dot1q-tunnel",
        "switchport access vlan 101",
        "interface Et2/1",
        "switchport mode dot1q-tunnel",
        "switchport access vlan 101",
    ]
    assert "switchport mode access" in arista.join_commands(PORTS, 101, tunnel=False)


def test_leaving_restores_the_default() -> None:
    assert arista.leave_commands(PORTS[:1]) == [
        "enable",
        "configure",
        "interface Ethernet1",
        "no switchport access vlan",
        "no switchport mode",
    ]


@pytest.mark.parametrize("vlan", [0, 4095, -1])
def test_vlans_have_limits(vlan: int) -> None:
    with pytest.raises(InvalidInput, match=r"1\.\.4094"):
        arista.join_commands(PORTS, vlan, tunnel=True)


@given(st.text())
def test_a_port_is_one_word_of_one_line(name: str) -> None:
    try:
        commands = arista.leave_commands([Port("kn1", name)])
    except InvalidInput:
        return
    assert commands[2] == f"interface {name}"
    assert name.isprintable()
    assert " " not in name


def test_requests_and_answers() -> None:
    sent = json.loads(arista.request(["enable"]))
    assert sent["method"] == "runCmds"
    assert sent["params"] == {"version": 1, "cmds": ["enable"], "format": "json"}
    arista.check(b'{"jsonrpc": "2.0", "id": "igor", "result": [{}]}', "https://sw", 1)
    with pytest.raises(CommandFailed, match="invalid command"):
        arista.check(b'{"error": {"code": 1002, "message": "CLI command 1: invalid command", "data": []}}', "u", 1)
    for wrong in (b"", b"[]", b'{"result": []}', b"<html>"):
        with pytest.raises(ProtocolError):
            arista.check(wrong, "https://sw", 1)


def test_the_configuration_chooses_the_driver() -> None:
    assert isinstance(choice.driver_for(SegmentConfig(driver="arista", url="https://sw")), arista.AristaSegment)
    with pytest.raises(InvalidInput):
        choice.driver_for(SegmentConfig(driver="arista", url="sw"))
    with pytest.raises(InvalidInput, match="token ring"):
        choice.driver_for(SegmentConfig(driver="token ring"))
