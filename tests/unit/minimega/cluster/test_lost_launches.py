"""Hosts that are lost while they launch: reported VM by VM, queued again, launched elsewhere, and never doubled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from megatools.hostkit import facts
from megatools.hostkit.errors import Unavailable
from megatools.minimega.cluster.fences import KEPT_S, KIND, Fence
from megatools.minimega.lang.operation import Request
from megatools.minimega.mesh.memory import MemoryNetwork
from megatools.minimega.vm.operations import LaunchVms
from tests.unit.minimega.cluster.daemons import Daemon, daemons
from tests.unit.minimega.cluster.labs import KN, lab, rows, until, where
from tests.unit.minimega.state.full_disk import full_disk

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "cpu_count", lambda: 4)


async def cut_while_launching(network: MemoryNetwork, kn1: Daemon, kn2: Daemon, line: str) -> list[tuple[str, str]]:
    """Errors of a launch whose VM `b` kn2 does not finish before it is cut off."""
    kn2.backend.held["b"] = asyncio.Event()
    launch = asyncio.create_task(kn1.errors(line, "lab"))
    await until(lambda: "b" in kn2.fleet.names("lab"))
    network.partition(["kn1", "kn3"], ["kn2"])
    return await launch


async def test_vms_of_a_lost_host_are_queued_again_and_launched_elsewhere(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        [(host, error)] = await cut_while_launching(network, kn1, kn2, "vm launch kvm a,b,c")
        assert host == "kn2"
        assert error.startswith("b: ") and error.endswith("it was given up and is queued again")
        [queued] = await rows(kn1, "ns queue list")
        assert queued[0] == "b" and queued[-1] == "kn2 was lost while it was to launch it"
        [given_up] = kn2.fleet.uuids()
        await lab(kn1, "vm launch")
        assert where(kn1, kn3) == {"a": "kn1", "b": "kn1", "c": "kn3"}

        kn2.backend.held["b"].set()  # the host is only cut off: it goes on with what it was asked
        await until(lambda: bool(kn2.fleet.machines("lab")))
        network.heal()
        await until(lambda: not kn2.fleet.machines("lab"))
        assert given_up not in kn2.fleet.uuids() and given_up not in kn2.backend.instances
        assert where(kn1, kn2, kn3) == {"a": "kn1", "b": "kn1", "c": "kn3"}
        assert await rows(kn1, "ns queue list") == []


async def test_the_healed_host_may_be_given_the_vm_again(tmp_path: Path) -> None:
    """The survey sees the VM that was given up, and takes neither its name nor its place for used."""
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        await lab(kn1, "vm config schedule kn2")
        await cut_while_launching(network, kn1, kn2, "vm launch kvm b")
        kn2.backend.held.pop("b").set()
        await until(lambda: bool(kn2.fleet.machines("lab")))
        network.heal()
        await lab(kn1, "vm launch")
        assert where(kn1, kn2, kn3) == {"b": "kn2"}
        assert await rows(kn1, "ns queue list") == []


async def test_a_launch_that_is_still_on_its_way_when_the_fence_comes_ends_after_it(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, _kn3)):
        await cut_while_launching(network, kn1, kn2, "vm launch kvm a,b,c")
        [given_up] = kn2.fleet.uuids()
        network.heal()
        await until(lambda: bool(kn2.agreement.fences.fenced([given_up])))
        assert kn2.fleet.uuids() == {given_up}
        kn2.backend.held["b"].set()
        await until(lambda: not kn2.fleet.uuids())


async def test_a_request_for_a_vm_that_was_given_up_is_refused(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (_, (kn1, kn2, _kn3)):
        space = await kn1.namespaces.ensure("lab")
        await lab(kn1, "ns queueing true", "vm launch kvm a")
        plan = space.queue.vms()[0].plan
        await kn1.agreement.fences.put("kn2", [plan])
        await until(lambda: bool(kn2.agreement.fences.fenced([plan.uuid])))
        [result] = await kn1.hosts.run(Request("lab", LaunchVms((plan,)), ("kn2",)))
        assert result.answer is not None
        assert [refused.error for refused in LaunchVms.refused(result.answer)] == ["it was given up meanwhile"]
        assert not kn2.fleet.uuids()


async def test_a_uuid_that_was_set_is_not_used_again(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, _kn3)):
        uuid = "01234567-89ab-cdef-0123-456789abcdef"
        await lab(kn1, f"vm config uuid {uuid}", "vm config schedule kn2")
        [(_, error)] = await cut_while_launching(network, kn1, kn2, "vm launch kvm b")
        assert error.endswith("it was given up, and not queued again for its UUID was set")
        assert await rows(kn1, "ns queue list") == []
        assert kn1.agreement.fences.fenced([uuid])


async def test_a_host_that_hangs_before_a_launch_gets_nothing(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, silence_s=0.2) as (network, (kn1, _kn2, kn3)):
        network.hanging.add("kn2")
        text = await kn1.text("vm launch kvm a,b,c", "lab")
        assert text.startswith("kn1: no VM was placed on kn2: timed out")
        assert sorted(where(kn1, kn3)) == ["a", "b", "c"]


async def test_old_fences_are_removed_by_the_host_they_are_for_and_those_of_nobody_by_any(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, kn2)):
        shared = kn1.agreement.shared
        await kn2.agreement.councils.roster.enlist()
        await shared.merge(kn2.agreement.councils.roster.entries())
        for uuid, host, given_up in (
            ("old", "kn1", 1.0),
            ("new", "kn1", KEPT_S),
            ("theirs", "kn2", 1.0),
            ("nobody's", "kn9", 1.0),
            ("nobody's new", "kn9", KEPT_S),
        ):
            await shared.put(KIND, uuid, Fence("lab", "a", host, given_up))
        kn1.agreement.fences._now = lambda: KEPT_S + 10.0
        kn1.agreement.start()
        await until(lambda: not kn1.agreement.fences.fenced(["old"]))
        left = {entry.id for entry in shared.entries(KIND) if not entry.removed}
        assert left == {"new", "theirs", "nobody's new"}


async def test_what_cannot_be_written_down_of_one_host_hides_no_end_of_the_others(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        kn2.backend.held["b"], kn3.backend.held["c"] = asyncio.Event(), asyncio.Event()
        kn3.backend.failures["launch", "c"] = Unavailable("no such kernel")
        launch = asyncio.create_task(kn1.errors("vm launch kvm a,b,c", "lab"))
        await until(lambda: "b" in kn2.fleet.names("lab") and "c" in kn3.fleet.names("lab"))
        await until(lambda: "a" in where(kn1))
        with full_disk(kn1.fleet._journal):
            network.partition(["kn1", "kn3"], ["kn2"])
            for _ in range(100):
                await asyncio.sleep(0)
            kn3.backend.held["c"].set()
            [(_, lost), other] = await launch
        assert lost.endswith("it cannot be given up, for this host cannot write that down: cannot write the journal")
        assert other == ("kn3", "c: no such kernel")
        assert await rows(kn1, "ns queue list") == [], "it may run there"
        network.heal()
        kn2.backend.held["b"].set()
        await until(lambda: where(kn1, kn2) == {"a": "kn1", "b": "kn2"})


async def test_what_cannot_be_kept_for_a_host_that_is_away_is_said_beside_what_the_others_did(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, _kn2, _kn3)):
        await lab(kn1, "vm launch kvm a,b,c")
        network.partition(["kn1", "kn3"], ["kn2"])
        with full_disk(kn1.fleet._journal):
            [(host, error)] = await kn1.errors("vm tag b,c owner me", "lab")
        assert host == "kn2"
        assert "what it was asked cannot be kept for it: cannot write the journal" in error


async def test_a_queue_whose_end_cannot_be_written_down_is_reported_and_looked_at_later(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (_, (kn1, kn2, _kn3)):
        await lab(kn1, "vm config schedule kn2", "ns queueing true", "vm launch kvm a,b", "ns queueing false")
        kn2.backend.held["a"] = asyncio.Event()
        launch = asyncio.create_task(kn1.errors("vm launch", "lab"))
        await until(lambda: "a" in kn2.fleet.names("lab"))
        with full_disk(kn1.fleet._journal):
            kn2.backend.held["a"].set()
            assert await launch == []
        assert where(kn2) == {"a": "kn2", "b": "kn2"}
        assert await kn1.errors("vm launch", "lab") == []
        assert where(kn1, kn2) == {"a": "kn2", "b": "kn2"}
        assert await rows(kn1, "ns queue list") == []
