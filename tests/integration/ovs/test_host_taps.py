"""Host taps and addresses on a real switch: frames written into a VM's tap reach the host and are understood."""

import asyncio
import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_interface
from pathlib import Path

import pytest

from megatools.hostkit import netlink, taps
from megatools.hostkit.errors import AlreadyExists, InvalidState, MegaError, Unavailable
from megatools.minimega.net.ports import Addresses, Port
from megatools.minimega.net.vlans import Vlan
from tests.support import netns
from tests.support.requires import requires

pytestmark = [pytest.mark.anyio, pytest.mark.root, requires("ovs-vswitchd", "ovsdb-server", "ovs-ofctl")]
NS = "minimega"
MAC = bytes.fromhex("525400000001")
TEXT = "52:54:00:00:00:01"


@contextmanager
def guest(tap: str) -> Iterator[int]:
    """The VM's end of a tap, as QEMU has it."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", tap.encode(), 0x1002))
        yield tun
    finally:
        os.close(tun)


async def answer(tun: int, question: bytes) -> bytes:
    """The ARP reply to a question, which is asked again each half second, as guests do: frames may get lost."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        while True:
            os.write(tun, question)
            ready = asyncio.Event()
            loop.add_reader(tun, ready.set)
            try:
                async with asyncio.timeout(0.5):
                    while True:
                        await ready.wait()
                        ready.clear()
                        try:
                            frame = os.read(tun, 2000)
                        except BlockingIOError:  # told twice of one frame
                            continue
                        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02":
                            return frame
            except TimeoutError:
                continue
            finally:
                loop.remove_reader(tun)


def arp(address: bytes, target: bytes) -> bytes:
    body = b"\x00\x01\x08\x00\x06\x04\x00\x01" + MAC + address + bytes(6) + target
    return (b"\xff" * 6 + MAC + b"\x08\x06" + body).ljust(60, b"\0")


def advertisement(address: str) -> bytes:
    """Sent to one station, so only the bridge's copying rule lets us hear it."""
    message = b"\x88\0\0\0\x60\0\0\0" + IPv6Address(address).packed + b"\x02\x01" + MAC
    header = b"\x60\0\0\0" + len(message).to_bytes(2, "big") + b"\x3a\xff" + bytes(15) + b"\x07" + bytes(15) + b"\x01"
    return bytes.fromhex("520000000099") + MAC + b"\x86\xdd" + header + message


async def test_a_guest_reaches_the_host_and_its_addresses_are_seen(base, opened) -> None:
    async with opened() as stack:
        name = await stack.host_taps.create(NS, Vlan(1), "mega_bridge", option="10.0.0.1/24")
        assert name == "mega_tap0"
        assert netlink.Address(name, ip_interface("10.0.0.1/24")) in netlink.addresses()
        (tap,) = stack.network.new_tap_names(1)
        told: asyncio.Queue[str] = asyncio.Queue()
        stack._book._events = told.put_nowait
        await stack.network.attach([Port(tap, "mega_bridge", 1, NS, "uuid", TEXT)])
        with guest(tap) as tun:
            reply = await answer(tun, arp(bytes([10, 0, 0, 77]), bytes([10, 0, 0, 1])))
            assert reply[28:32] == bytes([10, 0, 0, 1])
            async with asyncio.timeout(20):
                assert await told.get() == TEXT
            assert stack.network.addresses(TEXT.upper()) == Addresses("10.0.0.77", "")
            os.write(tun, advertisement("fd00::77"))
            async with asyncio.timeout(20):
                assert await told.get() == TEXT
            assert stack.network.addresses(TEXT) == Addresses("10.0.0.77", "fd00::77")
        await stack.network.detach([tap])
        assert stack.network.addresses(TEXT) == Addresses()
        with pytest.raises(MegaError, match=r"^unknown tap$"):
            await stack.host_taps.delete(NS, tap)
    assert taps.names() == {"lo"}


async def test_a_tap_that_comes_back_under_its_name_works(base, opened) -> None:
    """A VM that is killed and started again: ovs-vswitchd must not hold on to the tap that was."""
    async with opened() as stack:
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", option="10.0.0.1/24")
        (tap,) = stack.network.new_tap_names(1)
        others = stack.network.new_tap_names(10)
        ports = [Port(name, "mega_bridge", 1, NS, "uuid", TEXT) for name in (tap, *others)]
        for _ in range(3):
            await stack.network.attach(ports)
            with guest(tap) as tun:
                reply = await answer(tun, arp(bytes([10, 0, 0, 77]), bytes([10, 0, 0, 1])))
                assert reply[28:32] == bytes([10, 0, 0, 1])
            await stack.network.detach([tap, *others])


async def test_refusals_leave_no_tap(base, opened) -> None:
    async with opened() as stack:
        taps_ = stack.host_taps
        await taps_.create(NS, Vlan(1), "mega_bridge", "first", "10.0.0.1/24")
        before = taps.names()
        with pytest.raises(AlreadyExists, match=r'10.0.0.0/25 is taken by "first"'):
            await taps_.create(NS, Vlan(2), "mega_bridge", "second", "10.0.0.2/25")
        with pytest.raises(AlreadyExists, match=r"^tap already on bridge$"):
            await taps_.create(NS, Vlan(2), "mega_bridge", "first")
        with pytest.raises(MegaError, match=r"reserved"):
            await taps_.create(NS, Vlan(2), "mega_bridge", "mega_tap9")
        for bad in ("10.1.0.1", "10.1.0.0/24", "10.1.0.255/24", "frog", "10.1.0.1/99"):
            with pytest.raises(MegaError, match=r"address"):
                await taps_.create(NS, Vlan(2), "mega_bridge", "second", bad)
        assert taps.names() == before
        assert [tap.name for tap in taps_.of(NS)] == ["first"]


async def test_taps_belong_to_their_namespace(base, opened) -> None:
    async with opened() as stack:
        await stack.network.attach([Port("vm0", "mega_bridge", 1, NS, "uuid", TEXT)])
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", "mine")
        await stack.host_taps.create("other", Vlan(1), "mega_bridge", "theirs")
        with pytest.raises(MegaError, match=r"^not a host tap in active namespace$"):
            await stack.host_taps.delete(NS, "theirs")
        with pytest.raises(InvalidState, match=r"^not a host tap$"):
            await stack.host_taps.delete(NS, "vm0")
        await stack.release(NS)
        assert not taps.exists("mine")
        assert taps.exists("theirs")


async def test_the_next_daemon_adopts_taps_and_removes_half_made_ones(base, opened) -> None:
    async with opened(quits=False) as stack:
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", "whole", "10.0.0.1/24")
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", "half")
        record = next(tap for tap in stack.host_taps.of(NS) if tap.name == "half")
        await stack.host_taps._write(type(record)(**{**_fields(record), "ready": False}))
    async with opened() as stack:
        assert [tap.name for tap in stack.host_taps.of(NS)] == ["whole"]
        assert not taps.exists("half")
        assert stack.network.new_tap_names(1) == ["mega_tap0"]
    assert taps.names() == {"lo"}
    assert list(base.glob("ovs/*")) == []


async def test_after_a_power_failure_names_are_free_again(base, opened, inhabitants) -> None:
    """The private switch's database outlives its host."""
    async with opened(quits=False) as stack:
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", "mine", "10.0.0.1/24")
    netns.kill_inhabitants(Path("/proc/thread-self/ns/net").stat().st_ino)
    while inhabitants():
        await asyncio.sleep(0.05)
    for name in taps.names() - {"lo"}:
        await _remove(name)
    async with opened() as stack:
        assert stack.host_taps.of(NS) == []
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", "mine", "10.0.0.1/24")
        assert [(row.bridge, row.preexisting) for row in await stack.bridges.rows()] == [("mega_bridge", False)]
    assert taps.names() == {"lo"}


async def _remove(name: str) -> None:
    """Remove a tap of a program that was killed: its last thread may still be on its way out."""
    deadline = time.monotonic() + 10
    while True:
        try:
            taps.remove(name)
            return
        except Unavailable:
            assert time.monotonic() < deadline, name
            await asyncio.sleep(0.02)


@requires("busybox", "dnsmasq")
async def test_a_tap_asks_for_its_address(base, opened) -> None:
    """Another host on the VLAN serves DHCP: a port moved into a network namespace of its own."""
    from tests.integration.ovs.neighbour import dhcp_server

    async with opened() as stack:
        await stack.host_taps.create(NS, Vlan(3), "mega_bridge", "peer")
        async with dhcp_server("peer", "10.3.0.1/24", "10.3.0.10", Path(base)):
            name = await stack.host_taps.create(NS, Vlan(3), "mega_bridge", option="dhcp")
            found = [each.address for each in netlink.addresses() if each.interface == name]
            assert str(found[0]) == "10.3.0.10/24"
        with pytest.raises(MegaError, match=r"no DHCP server answered"):
            await stack.host_taps.create(NS, Vlan(4), "mega_bridge", "silent", "dhcp")
        assert not taps.exists("silent")


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__struct_fields__}  # type: ignore[attr-defined]
