"""A network stack that attaches and detaches until it is killed: python -m tests.integration.ovs.attacher BASE."""

import asyncio
import sys
from pathlib import Path

from megatools.minimega.net.ports import OvsSettings, Port
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.net.vlans import Vlan
from megatools.minimega.state.journal import Journal


async def main(base: Path) -> None:
    journal = Journal(base / "journal.db", "host")
    stack = NetworkStack(base=base, journal=journal, ovs=OvsSettings())
    await stack.recover()
    print("ready", flush=True)
    while True:
        names = stack.network.new_tap_names(8)
        await stack.network.attach([Port(name, "mega_bridge", 5, "minimega", "uuid", "") for name in names])
        tap = await stack.host_taps.create("minimega", Vlan(5), "second", option="10.0.0.1/24")
        await stack.dhcp.start("minimega", listen="10.0.0.1", low="10.0.0.2", high="10.0.0.9")
        await stack.dhcp.kill("minimega", "all")
        await stack.host_taps.delete("minimega", tap)
        await stack.network.detach(names[:4])
        print(*names[4:], flush=True)  # acknowledged: these must be there after a crash


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
