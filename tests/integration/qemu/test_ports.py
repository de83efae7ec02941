"""VMs with interfaces on a real Open vSwitch, in a network namespace of the test's own."""

import asyncio
import os
from pathlib import Path

import pytest

from megatools.hostkit.cgroups import Cgroups
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm.backends.kvm.backend import KvmBackend
from megatools.minimega.vm.config import VmConfig, VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.plan import Nic, VmPlan
from megatools.minimega.vm.settings import VmSettings
from tests.support import netns
from tests.support.requires import requires

pytestmark = [requires("qemu-system-x86_64", "ovs-vswitchd", "ovsdb-server"), pytest.mark.root]
NS = "minimega"
COUNT = 4


def taps() -> set[str]:
    return {path.name for path in Path("/proc/thread-self/net/dev_snmp6").iterdir() if path.name.startswith("mega_tap")}


async def scenario(base: Path) -> None:
    settings = VmSettings(accelerator="tcg")
    journal = Journal(base / "journal.db", "host")
    async with Supervisor("test") as supervisor:
        stack = NetworkStack(base=base, journal=journal, ovs=OvsSettings(None))
        fleet = Fleet(
            base=base,
            files=base / "files",
            journal=journal,
            network=stack.network,
            backends={VmKind.KVM: KvmBackend(settings, Cgroups(f"test-{os.getpid()}"), supervisor)},
            supervisor=supervisor,
            settings=settings,
            clock=StampClock("h"),
        )
        await stack.recover()
        await fleet.recover()
        nics = (Nic("mega_bridge", 5), Nic("mega_bridge", None, driver="virtio-net-pci"))
        config = VmConfig(memory_mib=32, vga="none")
        plans = [
            VmPlan(f"11111111-2222-3333-4444-00000000000{n}", f"v{n}", NS, config=config, nics=nics)
            for n in range(COUNT)
        ]
        assert [result.error for result in await fleet.launch(plans)] == [None] * COUNT
        rows = fleet.rows(NS)
        assert rows[0].vlan == ("5", "disconnected")
        assert {tap for row in rows for tap in row.tap} == taps() and len(taps()) == 2 * COUNT
        await fleet.start(NS, "all")
        await fleet.kill(NS, "v0,v1")
        await fleet.start(NS, "v0")
        assert set(fleet.rows(NS)[0].tap) <= taps()
        await fleet.kill(NS, "all")
        await fleet.flush(NS, "all")
        assert taps() == set() and fleet.rows() == []
        await fleet.close(kill=True)
        await stack.close(remove=True)
    journal.close()


def test_ports_come_with_the_vms_and_go_with_them() -> None:
    with netns.entered(), netns.base_directory() as base:
        asyncio.run(scenario(base))
