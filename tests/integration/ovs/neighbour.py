"""A DHCP server that is another host: an interface moved into a network namespace of its own, with dnsmasq on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from megatools.hostkit import proc
from tests.support import netns


@asynccontextmanager
async def dhcp_server(interface: str, address: str, lease: str, directory: Path) -> AsyncIterator[None]:
    """Serve exactly one address from `interface`, which disappears with the namespace."""
    with netns.named() as name:
        await proc.run(["ip", "link", "set", interface, "netns", name], timeout_s=20)
        for words in (["addr", "add", address, "dev", interface], ["link", "set", interface, "up"]):
            await proc.run(["ip", "-n", name, *words], timeout_s=20)
        argv = ["dnsmasq", "-C", "/dev/null", "--port=0", "--no-ping", "--bind-interfaces", "--except-interface=lo"]
        files = [f"--pid-file={directory / 'peer.pid'}", f"--dhcp-leasefile={directory / 'peer.leases'}"]
        await proc.run([*netns.exec_words(name), *argv, *files, f"--dhcp-range={lease},{lease}"], timeout_s=20)
        yield
