"""A network stack that joins its bridge to other hosts' as it is told, makes a tap, and goes without a word.

Run on a host of the lab: python -m tests.integration.cluster.joiner BASE ADDRESS TAP_ADDRESS RUN_DIR WANTS (JSON).
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from megatools.minimega.net.meshes import Want
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.net.vlans import Vlan
from megatools.minimega.state.journal import Journal


async def main(base: Path, address: str, tap: str, run_dir: str, wants: str) -> None:
    """Join, make the tap `lan` on VLAN 5 where there is none, and print the tunnels of the bridge."""
    base.mkdir(exist_ok=True)
    journal = Journal(base / "journal.db", "host")
    ovs = OvsSettings(Path(run_dir) if run_dir else None)
    stack = NetworkStack(base=base, journal=journal, ovs=ovs, own_address=lambda: address)
    await stack.recover()
    asked = msgspec.json.decode(wants, type=list[Want])
    for want in asked:
        await stack.tunnels.join(want)
    for namespace in {want.namespace for want in stack.tunnels.wants()} - {want.namespace for want in asked}:
        await stack.tunnels.leave(namespace)
    if not stack.host_taps.of("minimega"):
        await stack.host_taps.create("minimega", Vlan(5), "mega_bridge", "lan", tap)
    print(msgspec.json.encode(stack.tunnels.on("mega_bridge")).decode())
    await stack.close(remove=False)
    journal.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
