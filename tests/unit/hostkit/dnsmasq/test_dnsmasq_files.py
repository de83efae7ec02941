"""What we write for dnsmasq and what we read from it."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.dnsmasq.config import Live, Setup, config_text, live_files
from megatools.hostkit.dnsmasq.leases import Lease, LeaseFile, parse_leases

LEASES = """1700000000 52:54:00:00:00:01 10.0.0.5 vm-1 01:52:54:00:00:00:01
0 52:54:00:AA:00:02 10.0.0.6 * *
1700000000 52:54:00:00
duid 00:01:00:01
1700000000 12345 fd00::5 vm-1 00:01:00:01
"""


def test_config_says_where_and_what() -> None:
    lines = config_text(Setup("10.0.0.1", "10.0.0.2", "10.0.0.254", "/x.conf"), Path("/d"), "nobody").splitlines()
    assert {"bind-interfaces", "except-interface=lo", "no-ping", "user=nobody"} < set(lines)
    assert lines[-3:] == ["listen-address=10.0.0.1", "dhcp-range=10.0.0.2,10.0.0.254", "conf-file=/x.conf"]
    assert "dhcp-leasefile=/d/dnsmasq.leases" in lines


def test_a_server_from_a_file_has_no_range() -> None:
    text = config_text(Setup(include="/x.conf"), Path("/d"), "nobody")
    assert "dhcp-range" not in text
    assert "listen-address" not in text


def test_live_files() -> None:
    live = Live((("aa:bb", "10.0.0.9"),), (("10.0.0.9", "web"),), ("1.1.1.1", "9.9.9.9"), ("option:mtu,1400",))
    files = live_files(live)
    assert files["dhcp-hosts/minimega"] == "aa:bb,10.0.0.9\n"
    assert files["hosts/minimega"] == "10.0.0.9 web\n"
    assert files["resolv.conf"] == "nameserver 1.1.1.1\nnameserver 9.9.9.9\n"
    assert files["dhcp-opts/minimega"] == "option:mtu,1400\n"


def test_leases_are_read_and_unfinished_lines_left_out() -> None:
    assert parse_leases(LEASES) == [
        Lease(1700000000, "52:54:00:00:00:01", "10.0.0.5", "vm-1"),
        Lease(0, "52:54:00:aa:00:02", "10.0.0.6", ""),
    ]


@given(st.text())
def test_any_lease_file_can_be_read(text: str) -> None:
    parse_leases(text)


def test_a_lease_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "leases"
    file = LeaseFile(path)
    assert file.by_mac() == {}
    path.write_text("5 52:54:00:00:00:01 10.0.0.5 a *\n")
    assert file.by_mac()["52:54:00:00:00:01"].address == "10.0.0.5"
    path.write_text("5 52:54:00:00:00:01 10.0.0.6 a *\n")
    os.utime(path, ns=(1, 1))
    assert file.by_mac()["52:54:00:00:00:01"].address == "10.0.0.6"
    path.unlink()
    assert file.by_mac() == {}
