"""Netspecs and diskspecs: what is accepted, what is refused, and round trips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.qemu.devices import DISK_CACHES, DISK_INTERFACES
from megatools.hostkit.qemu.probe import NIC_DRIVERS
from megatools.minimega.vm.config import DiskSpec, NicSpec
from megatools.minimega.vm.diskspec import parse_diskspec, parse_diskspecs, show_diskspec
from megatools.minimega.vm.netspec import normal_mac, parse_netspec, show_netspec


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("100", NicSpec("100")),
        ("LAN", NicSpec("LAN")),
        ("br0,100", NicSpec("100", "br0")),
        ("mega_bridge,100", NicSpec("100")),
        ("100,e1000", NicSpec("100")),
        ("100,virtio-net-pci", NicSpec("100", driver="virtio-net-pci")),
        ("100,00:15:17:AB:cd:01", NicSpec("100", mac="00:15:17:ab:cd:01")),
        ("100,0015.17ab.cd01", NicSpec("100", mac="00:15:17:ab:cd:01")),
        ("br0,100,00-15-17-ab-cd-01", NicSpec("100", "br0", "00:15:17:ab:cd:01")),
        ("100,00:15:17:00:00:01,rtl8139", NicSpec("100", mac="00:15:17:00:00:01", driver="rtl8139")),
        ("br0,100,00:15:17:00:00:01,rtl8139,QINQ", NicSpec("100", "br0", "00:15:17:00:00:01", "rtl8139", True)),
        ("100,qinq", NicSpec("100", qinq=True)),
        ("LAN,other", NicSpec("other", "LAN")),
    ],
)
def test_netspec_is_read(text: str, spec: NicSpec) -> None:
    assert parse_netspec(text, NIC_DRIVERS) == spec


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "a,b,c", "00:15:17:00:00:01", "4096", "-1", "br0,100,nodriver", "a,b,c,d,e,f"]
)
def test_bad_netspec_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(InvalidInput, match="malformed netspec") as refused:
        parse_netspec(text, NIC_DRIVERS)
    assert f'"{text}"' in refused.value.message and refused.value.hint


@pytest.mark.parametrize("mac", ["01:15:17:00:00:01", "00:15:17:00:00", "00:15:17:00:00:0g", "00:15-17:00:00:01"])
def test_bad_mac_is_refused(mac: str) -> None:
    with pytest.raises(InvalidInput, match="Not a valid mac address"):
        normal_mac(mac)


NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,8}", fullmatch=True).filter(
    lambda name: name not in NIC_DRIVERS and name not in ("qinq", "mega_bridge")
)
MACS = st.integers(0, 2**40 - 1).map(
    lambda n: ":".join(["00", *(f"{n >> shift & 255:02x}" for shift in range(0, 40, 8))])
)
NICS = st.builds(
    NicSpec,
    st.one_of(NAMES, st.integers(0, 4095).map(str)),
    st.one_of(st.just(""), NAMES),
    st.one_of(st.just(""), MACS),
    st.sampled_from(["", *sorted(NIC_DRIVERS - {"e1000"})]),
    st.booleans(),
)


@given(NICS)
def test_netspec_round_trip(spec: NicSpec) -> None:
    assert parse_netspec(show_netspec(spec), NIC_DRIVERS) == spec


@given(st.text(max_size=40))
def test_any_text_is_a_netspec_or_invalid_input(text: str) -> None:
    try:
        spec = parse_netspec(text, NIC_DRIVERS)
    except InvalidInput:
        return
    assert parse_netspec(show_netspec(spec), NIC_DRIVERS) == spec


@given(
    st.builds(
        DiskSpec,
        st.from_regex(r"/[a-z0-9./ ]{0,20}[a-z0-9]", fullmatch=True),
        st.sampled_from(["", *DISK_INTERFACES]),
        st.sampled_from(["", *DISK_CACHES]),
    )
)
def test_diskspec_round_trip(spec: DiskSpec) -> None:
    assert parse_diskspec(show_diskspec(spec)) == spec


@pytest.mark.parametrize("text", ["", ",ide", "/a,ide,none,x", "/a,none,ide", "/a,sata"])
def test_bad_diskspec_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="malformed diskspec"):
        parse_diskspec(text)


def test_one_file_twice_is_a_conflict() -> None:
    with pytest.raises(InvalidInput, match="disk conflict: /a"):
        parse_diskspecs(["/a", "/a,virtio"])
