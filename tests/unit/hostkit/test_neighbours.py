"""Frames of ARP and neighbour discovery tell who has which address; anything else tells nothing."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.neighbours import Sighting, parse

MAC = bytes.fromhex("525400abcdef")
TEXT = "52:54:00:ab:cd:ef"


def arp(address: str, *, mac: bytes = MAC, tag: bytes = b"") -> bytes:
    body = b"\x00\x01\x08\x00\x06\x04\x00\x01" + mac + IPv4Address(address).packed + bytes(6) + bytes([10, 0, 0, 1])
    return b"\xff" * 6 + mac + tag + b"\x08\x06" + body


def discovery(kind: int, source: str, target: str, option: bytes = b"", *, sender: bytes = MAC) -> bytes:
    message = bytes([kind, 0, 0, 0, 0, 0, 0, 0]) + IPv6Address(target).packed + option
    header = b"\x60\0\0\0" + len(message).to_bytes(2, "big") + b"\x3a\xff"
    return b"\x33\x33\0\0\0\x01" + sender + b"\x86\xdd" + header + IPv6Address(source).packed + bytes(16) + message


@pytest.mark.parametrize("tag", [b"", b"\x81\x00\x00\x05", b"\x88\xa8\x00\x01\x81\x00\x00\x05"])
def test_arp_tells_its_sender(tag: bytes) -> None:
    assert parse(arp("10.0.0.7", tag=tag)) == Sighting(TEXT, "10.0.0.7", 4)


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1"])
def test_probes_and_nonsense_are_ignored(address: str) -> None:
    assert parse(arp(address)) is None


def test_a_multicast_sender_is_ignored() -> None:
    assert parse(arp("10.0.0.7", mac=b"\x01" + MAC[1:])) is None


def test_solicitation_tells_its_source() -> None:
    option = b"\x01\x01" + MAC
    assert parse(discovery(135, "fd00::7", "fd00::1", option)) == Sighting(TEXT, "fd00::7", 6)
    assert parse(discovery(135, "::", "fd00::7")) is None  # a duplicate probe


def test_advertisement_tells_its_target_and_trusts_the_option() -> None:
    option = b"\x02\x01" + MAC
    other = bytes.fromhex("020000000001")
    assert parse(discovery(136, "fe80::1", "fd00::7", option, sender=other)) == Sighting(TEXT, "fd00::7", 6)
    assert parse(discovery(136, "fe80::1", "fd00::7")) == Sighting(TEXT, "fd00::7", 6)


def test_other_icmp_is_ignored() -> None:
    assert parse(discovery(134, "fe80::1", "fd00::7")) is None


@given(st.binary(max_size=120))
def test_garbage_never_raises(frame: bytes) -> None:
    parse(frame)


@given(st.integers(0, 100), st.sampled_from([arp("10.0.0.7"), discovery(136, "fe80::1", "fd00::7", b"\x02\x01" + MAC)]))
def test_cut_frames_never_raise(length: int, frame: bytes) -> None:
    parse(frame[:length])
