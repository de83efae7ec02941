"""Namespaces are journaled once they are made to last, whoever looked at them before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from megatools.hostkit.errors import InvalidInput, NotFound, Unavailable
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm.config import NicSpec, VmConfig, VmKind
from tests.unit.minimega.state.full_disk import full_disk


class Nobody:
    """A host without VMs."""

    def names(self, namespace: str) -> frozenset[str]:
        return frozenset()

    def uuids(self) -> frozenset[str]:
        return frozenset()


def namespaces(journal: Journal) -> Namespaces:
    shared = Shared(journal, StampClock("h"))
    shared.recover()
    return Namespaces(journal, Membership(shared, "h", tuple), Nobody(), Vlans(journal, frozenset), ())


def test_one_that_was_only_looked_at_is_kept_once_it_is_made(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "h")
    spaces = namespaces(journal)

    async def scenario() -> None:
        spaces.get("lab")
        await spaces.ensure("lab")

    asyncio.run(scenario())
    again = namespaces(journal)
    again.recover()
    assert list(again.names()) == ["lab", "minimega"]
    journal.close()


def test_configurations_and_counters_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "h")

    async def scenario() -> None:
        space = await namespaces(journal).ensure("lab")
        await space.set_config(VmConfig(memory_mib=512, networks=(NicSpec("lan"),)))
        await space.save_config("small")
        plans = await space.connect(await space.plan_launch(VmKind.KVM, "2"))
        assert [plan.name for plan in plans] == ["vm-0", "vm-1"]
        assert {(nic.vlan, nic.vlan_alias) for plan in plans for nic in plan.nics} == {(101, "lan")}

    asyncio.run(scenario())
    again = namespaces(journal)
    again.recover()
    space = again.get("lab")
    assert space.config.memory_mib == 512 and list(space.saved_names()) == ["small"]
    assert [plan.name for plan in asyncio.run(space.plan_launch(VmKind.KVM, "1"))] == ["vm-2"]
    with pytest.raises(InvalidInput, match="multiple VMs with a pre-configured UUID"):
        asyncio.run(space.set_config(VmConfig(uuid="u")))
        asyncio.run(space.plan_launch(VmKind.KVM, "2"))
    with pytest.raises(NotFound, match="unknown namespace: `nowhere`"):
        again.check_known("nowhere")
    asyncio.run(again.destroy("lab"))
    assert [record.kind for kind in ("namespace", "config", "saved-config") for record in journal.read(kind)] == []
    journal.close()


def test_what_a_full_disk_refuses_does_not_count(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db", "h")

    async def scenario() -> None:
        space = await namespaces(journal).ensure("lab")
        await space.set_config(VmConfig(memory_mib=512))
        with full_disk(journal):
            for refused in (
                space.set_config(VmConfig(memory_mib=64)),
                space.save_config("small"),
                space.change(queueing=True),
            ):
                with pytest.raises(Unavailable):
                    await refused
        assert space.config.memory_mib == 512
        assert space.saved_names() == []
        assert not space.record.queueing

    asyncio.run(scenario())
    journal.close()
