"""The classic lists: their columns, their layout, search and mask."""

from __future__ import annotations

import json

import pytest

from tests.unit.minimega.classic.modern import Modern

HEADER = (
    "id name state uptime type uuid cc_active pid vlan bridge tap mac ip ip6 memory vcpus disks snapshot initrd "
    "kernel cdrom append"
).split()


def row(number: int, state: str, **changes: str) -> list[str]:
    cells = {
        "id": str(number), "name": f"vm-{number}", "state": state, "uptime": "1s", "type": "kvm", "uuid": f"u{number}",
        "cc_active": "false", "pid": "7", "vlan": "[lan (101), 5]", "bridge": "[mega_bridge, mega_bridge]",
        "tap": f"[mega_tap{number}, mega_tap9]", "mac": "[00:aa, 00:bb]", "ip": "[10.0.0.2, ]", "ip6": "[, ]",
        "memory": "512", "vcpus": "1", "disks": "[]", "snapshot": "true", "initrd": "/i", "kernel": "/k", "cdrom": "",
        "append": "",
    } | changes  # fmt: skip
    return [cells[name] for name in HEADER]


@pytest.fixture
def machine() -> Modern:
    rows = [
        row(10, "PAUSED"),
        row(2, "RUNNING", disks="[a.qc2,ide, b.qc2]"),
        row(3, "QUIT"),
    ]
    modern = Modern({"vm info": (HEADER, rows), "vm info summary": (HEADER, rows)})
    modern.tables["tap"] = (["bridge", "tap", "vlan"], [["mega_bridge", "mega_tap0", "1"]])
    modern.tables["bridge"] = (["bridge", "preexisting", "vlans"], [["mega_bridge", "false", "[1, 5]"]])
    return modern


def test_vm_info_has_the_classic_columns_and_layout(machine):
    first, *rows = machine.text("vm_info").split("\n")
    assert [cell.strip() for cell in first.split("|")] == (
        "id host name state memory vcpus disk initrd kernel cdrom append bridge tap mac ip ip6 vlan "
        "uuid cc_active".split()
    )
    cells = [[cell.strip() for cell in line.split("|")] for line in rows]
    assert [line[0] for line in cells] == ["2", "3", "10"]
    assert cells[0][1:7] == ["kn1", "vm-2", "running", "512", "1", "[a.qc2 b.qc2] [snapshot]"]
    assert cells[1][6] == "[]"
    assert cells[0][11:17] == [
        "[mega_bridge mega_bridge]",
        "[mega_tap2 mega_tap9]",
        "[00:aa 00:bb]",
        "[10.0.0.2 ]",
        "[ ]",
        "[101 5]",
    ]


def test_mask_and_search(machine):
    assert machine.text("vm_info [id,state]") == "id   | state\n2    | running\n3    | quit\n10   | paused"
    assert machine.text("vm_info state=RUNNING [id]") == "id\n2"
    assert machine.text("vm_info tap=mega_tap10 [name]") == "name\nvm-10"
    assert machine.text("vm_info vlan=101 [id]") == "id\n2\n3\n10"
    assert machine.text("vm_info name=nobody") == ""
    assert machine.errors("vm_info name=nobody") == []


def test_quiet_and_json(machine):
    assert machine.text("vm_info output=quiet id=2 [id,name,state]") == "2\tvm-2\trunning"
    (found,) = json.loads(machine.text("vm_info output=json id=2 [id]"))
    assert found["Id"] == 2
    assert found["Taps"] == ["mega_tap2", "mega_tap9"]
    assert set(found) == set(
        "Id Host Name Memory Vcpus Disk Snapshot Initrd Kernel Cdrom Append State Bridges Taps Macs IP IP6 Networks "
        "UUID CC_Active".split()
    )


def test_vm_status(machine):
    assert machine.text("vm_status") == ("VM 2 : RUNNING, QMP : running\nVM 3: QUIT\nVM 10 : PAUSED, QMP : paused")
    assert machine.text("vm_status 3") == "VM 3: QUIT"
    assert machine.errors("vm_status 77") == ["VM 77 not found"]


def test_vm_start_can_start_what_had_quit(machine):
    machine.text("vm_start quit=true")
    assert machine.lines == ["vm start all", "vm info", "vm start 3"]


def test_vm_config_prints_the_classic_block(machine):
    machine.texts |= {"vm config memory": "512", "vm config vcpus": "1", "vm config networks": "[1 5]"}
    lines = machine.text("vm_config").split("\n")
    assert lines[:4] == ["Current VM configuration:", "Memory:        512", "VCPUS:         1", "Disk Paths:    []"]
    assert "Networks:      [1 5]" in lines
    assert "CDROM Path:" in lines


def test_taps_and_bridges(machine):
    assert machine.text("host_tap").split("\n")[0] == "bridge      | tap       | vlan | option"
    lines = [[cell.strip() for cell in line.split("|")] for line in machine.text("bridge_info").split("\n")]
    assert lines == [
        ["Bridge", "Exists", "Existed before minimega", "Active VLANS"],
        ["mega_bridge", "true", "false", "[1 5]"],
    ]
