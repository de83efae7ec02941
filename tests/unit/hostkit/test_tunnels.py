"""What the kernel is told to make a tunnel, and how long a guest's packets may be in one."""

import socket

import pytest

from megatools.hostkit.tunnels import Device, TunnelKind, parameters, room_within


def test_a_vxlan_device_has_no_single_remote_end() -> None:
    assert parameters(Device("t0", TunnelKind.VXLAN, "10.0.0.1", ("10.0.0.2", "10.0.0.3"), 7)) == {
        "ifname": "t0",
        "kind": "vxlan",
        "mtu": 1500,
        "vxlan_id": 7,
        "vxlan_local": "10.0.0.1",
        "vxlan_port": 4789,
    }
    assert "vxlan_local6" in parameters(Device("t0", TunnelKind.VXLAN, "fd00::1", (), 0))


def test_a_gre_device_lets_long_frames_be_fragmented() -> None:
    made = parameters(Device("t0", TunnelKind.GRE, "10.0.0.1", ("10.0.0.2",), 9))
    assert (made["kind"], made["gre_local"], made["gre_remote"]) == ("gretap", "10.0.0.1", "10.0.0.2")
    assert (made["gre_pmtudisc"], made["gre_ignore_df"]) == (0, 1)
    assert (made["gre_ikey"], made["gre_okey"], made["gre_iflags"]) == (9, 9, 0x2000)
    assert not any("key" in name or "flags" in name for name in parameters(_gre(0)))
    six = parameters(Device("t0", TunnelKind.GRE, "fd00::1", ("fd00::2",), 9))
    assert (six["kind"], six["ip6gre_oflags"]) == ("ip6gretap", socket.htons(0x2000))


@pytest.mark.parametrize(
    ("kind", "version", "key", "room"),
    [
        (TunnelKind.VXLAN, 4, 7, 1446),  # IP 20, UDP 8, VXLAN 8, Ethernet 14, VLAN tag 4
        (TunnelKind.VXLAN, 6, 7, 1426),
        (TunnelKind.GRE, 4, 7, 1454),  # IP 20, GRE 8, Ethernet 14, VLAN tag 4
        (TunnelKind.GRE, 4, 0, 1458),
    ],
)
def test_room(kind: TunnelKind, version: int, key: int, room: int) -> None:
    assert room_within(1500, kind, version, key) == room
    assert room_within(9000, kind, version, key) == room + 7500


def _gre(key: int) -> Device:
    return Device("t0", TunnelKind.GRE, "10.0.0.1", ("10.0.0.2",), key)
