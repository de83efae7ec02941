"""A real guest's TCP crosses the switch both ways, with the very NIC words our VMs have."""

import asyncio
import os

import pytest

from megatools.hostkit import proc
from megatools.hostkit.qemu.devices import Interface, nic_words
from megatools.minimega.net.ports import Port
from megatools.minimega.net.vlans import Vlan
from tests.support.images import tiny_image
from tests.support.requires import requires

NS = "minimega"
MAC = "52:54:00:00:00:21"
BYTES = 100_000
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.root,
    pytest.mark.timeout(900),  # the first run builds the image
    requires("ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "dnsmasq", "qemu-system-x86_64", "mmdebstrap"),
]


@pytest.fixture(scope="module")
def image():
    """Built before the test enters its network namespace, which reaches no package source."""
    return tiny_image()


async def wait_for(screen: asyncio.StreamReader, text: bytes) -> None:
    async with asyncio.timeout(180):
        await screen.readuntil(text)


@pytest.mark.parametrize("driver", ["virtio-net-pci", "e1000"])
async def test_tcp_both_ways(image, base, opened, driver: str) -> None:
    kernel, initrd = image
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readline())
        writer.write(b"x" * BYTES)
        await writer.drain()
        writer.close()

    async with opened() as stack:
        await stack.host_taps.create(NS, Vlan(1), "mega_bridge", option="10.0.0.1/24")
        await stack.dhcp.start(NS, listen="10.0.0.1", low="10.0.0.2", high="10.0.0.20")
        (tap,) = stack.network.new_tap_names(1)
        await stack.network.attach([Port(tap, "mega_bridge", 1, NS, "uuid", MAC)])
        server = await asyncio.start_server(serve, "10.0.0.1", 8000)
        keys, keyboard = os.pipe()
        shown, console = os.pipe()
        argv = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "tcg", "-cpu", "max", "-m", "256"]
        argv += ["-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet", "-serial", "stdio"]
        child = proc.spawn([*argv, *nic_words([Interface(tap, MAC, driver)])], stdin=keys, stdout=console)
        for end in (keys, console):
            os.close(end)
        screen = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(screen), os.fdopen(shown, "rb")
        )
        try:
            await wait_for(screen, b"megatools: lease 10.0.0.")
            assert stack.network.addresses(MAC).ip4.startswith("10.0.0.")
            os.write(keyboard, b"\n(echo hello; sleep 20) | nc -w 20 10.0.0.1 8000 | wc -c | sed s/^/got=/\n")
            async with asyncio.timeout(60):
                assert await asked.get() == b"hello\n"
            await wait_for(screen, f"got={BYTES}".encode())
        finally:
            await proc.end(child.identity)
            await child.wait(timeout_s=20)
            os.close(keyboard)
            transport.close()
            server.close()
            await server.wait_closed()
