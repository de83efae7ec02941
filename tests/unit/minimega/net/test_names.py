"""Names, numbers and subnets are checked before anything is made."""

from ipaddress import ip_interface

import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidInput
from megatools.hostkit.netlink import Address
from megatools.minimega.net.host_taps import check_subnet
from megatools.minimega.net.names import check_bridge, check_mac, check_tap

PRESENT = [Address("lo", ip_interface("127.0.0.1/8")), Address("eth1", ip_interface("10.0.0.9/16"))]


@pytest.mark.parametrize("name", ["", "a" * 16, "a b", "a/b", "..", "-x", "lo", "ovs-netdev", "é", "a\n"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_tap(name)
    with pytest.raises(InvalidInput):
        check_bridge(name)


def test_good_names() -> None:
    assert check_tap("a" * 15) == "a" * 15
    assert check_bridge("mega_bridge.1-x") == "mega_bridge.1-x"


@pytest.mark.parametrize("mac", ["", "00:11:22:33:44", "00:11:22:33:44:5g", "01:00:00:00:00:00", "0011.2233.4455"])
def test_bad_macs(mac: str) -> None:
    with pytest.raises(InvalidInput):
        check_mac(mac)


def test_macs_are_lower_case() -> None:
    assert check_mac("52:54:00:AB:CD:EF") == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize("wanted", ["10.0.0.1/24", "10.0.0.0/8", "10.0.255.1/30"])
def test_a_taken_subnet_is_named(wanted: str) -> None:
    with pytest.raises(AlreadyExists, match=r'is taken by "eth1"'):
        check_subnet(ip_interface(wanted), PRESENT)


@pytest.mark.parametrize("wanted", ["10.1.0.1/24", "127.0.0.5/8", "fd00::1/64"])
def test_a_free_subnet_passes(wanted: str) -> None:
    check_subnet(ip_interface(wanted), PRESENT)
