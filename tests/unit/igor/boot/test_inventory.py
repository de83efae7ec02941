"""What lease files, CSV and node sets say about nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, MegaError
from megatools.igor.boot import inventory
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.host import BootMode, Host

KN = Cluster("kn", 1, 40, 8, 5)
M1, M2 = "52:54:00:77:00:01", "52:54:00:77:00:02"

ISC_LEASES = """\
# The format of this file is documented in the dhcpd.leases(5) manual page.
lease 10.77.0.21 {
  starts 1 2026/11/23 10:00:00;
  binding state active;
  hardware ethernet 52:54:00:77:00:01;
  set vendor-class-identifier = "PXEClient:Arch:00007:UNDI:003001";
  client-hostname "kn1";
}
lease 10.77.0.22 {
  hardware ethernet 52:54:00:77:00:02;
  set vendor-class-identifier = "PXEClient:Arch:00000:UNDI:002001";
  client-hostname "kn2.lab";
}
lease 10.77.0.99 {
  hardware ethernet 52:54:00:77:00:99;
  client-hostname "printer";
}
"""
ISC_CONFIG = """\
subnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.100 10.77.0.200; }
host kn1 { hardware ethernet 52:54:00:77:00:01; fixed-address 10.77.0.21; }
host kn2 {
  hardware ethernet 52:54:00:77:00:02;
  fixed-address 10.77.0.22;
}
"""


def parse(text: str, known: dict[int, Host] | None = None) -> dict[int, Host]:
    return {host.number: host for host in inventory.parse(text, KN, known or {}).hosts}


def test_leases_of_isc_dhcpd_tell_the_boot_mode() -> None:
    found = inventory.parse(ISC_LEASES, KN, {})
    assert found.hosts == (
        Host(1, "kn1", mac=M1, ip="10.77.0.21", boot=BootMode.UEFI),
        Host(2, "kn2", mac=M2, ip="10.77.0.22", boot=BootMode.BIOS),
    )
    assert len(found.skipped) == 1
    assert "printer" in found.skipped[0]


@pytest.mark.parametrize(
    "text",
    [
        ISC_CONFIG,
        f"1700000000 {M1} 10.77.0.21 kn1 *\n1700000000 {M2} 10.77.0.22 kn2 01:{M2}\n",
        f"dhcp-range=10.77.0.10,10.77.0.99\ndhcp-host={M1},kn1,10.77.0.21\ndhcp-host={M2},set:x,10.77.0.22,kn2,12h\n",
        f"name,mac,ip\nkn1,{M1},10.77.0.21\nkn2,{M2.replace(':', '-').upper()},10.77.0.22\n",
        f"# made by hand\nNode;HWaddr;Address\nkn1;{M1};10.77.0.21\n\nkn2;{M2};10.77.0.22\n",
        "kn[1-2] mac=52:54:00:77:00:[01-02] ip=10.77.0.[21-22]\n",
    ],
)
def test_many_formats_say_the_same(text: str) -> None:
    assert parse(text) == {1: Host(1, "kn1", mac=M1, ip="10.77.0.21"), 2: Host(2, "kn2", mac=M2, ip="10.77.0.22")}


def test_node_sets_change_only_what_they_name() -> None:
    known = {1: Host(1, "kn1", mac=M1, port="Et1"), 9: Host(9, "kn9", mac=M2)}
    found = parse("uefi: kn[1-3]\nkn[2-3] port=Ethernet[7-8] power=ipmi # both\nhttp: kn3\n", known)
    assert found == {
        1: Host(1, "kn1", mac=M1, port="Et1", boot=BootMode.UEFI),
        2: Host(2, "kn2", port="Ethernet7", power="ipmi", boot=BootMode.UEFI),
        3: Host(3, "kn3", port="Ethernet8", power="ipmi", boot=BootMode.HTTP),
    }


@pytest.mark.parametrize(
    ("architecture", "mode"), [(0, BootMode.BIOS), (6, BootMode.UEFI), (7, BootMode.UEFI), (16, BootMode.HTTP)]
)
def test_architectures(architecture: int, mode: BootMode) -> None:
    assert inventory.boot_mode_of(architecture) is mode


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("what is this", "neither a lease file"),
        ("kn[1-2] mac=nonsense", "is not a MAC"),
        (f"kn[1-2] mac={M1}", "belongs to both"),
        ("kn1 ip=10.0.0.256", "not an IPv4 address"),
        ("floppy: kn1", "not a boot mode"),
        ("kn[1-2] port=Et[1-3]", "2 nodes, but"),
        ("kn1 colour=blue", '"colour" is not known'),
        ("kn[1- boot=uefi", r"unterminated"),
        ("name,mac\n,52:54:00:77:00:01", "names no node"),
    ],
)
def test_errors_name_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        inventory.parse(text, KN, {})


def test_a_mac_another_node_is_known_by_is_refused() -> None:
    with pytest.raises(InvalidInput, match="kn9"):
        inventory.parse(f"kn1 mac={M1}", KN, {9: Host(9, "kn9", mac=M1)})


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        inventory.parse(text, KN, {})
    except MegaError as error:
        assert error.message
