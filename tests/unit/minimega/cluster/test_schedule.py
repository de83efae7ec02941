"""Launching over hosts, through the commands, over daemons of a mesh in memory: B.12, D.10 and D.11."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from megatools.hostkit import facts
from megatools.hostkit.errors import NotFound
from megatools.minimega.namespace.queue import BEGUN, KIND, Queue, QueuedVm
from megatools.minimega.state.journal import Journal, decode
from tests.unit.minimega.cluster.daemons import daemons
from tests.unit.minimega.cluster.labs import KN, lab, rows, until, where

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "cpu_count", lambda: 4)


# ---- launching


async def test_vms_are_spread_over_the_hosts_and_every_node_can_drive(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        await lab(kn1, "vm launch kvm 4")
        assert Counter(where(kn1, kn2, kn3).values()) == {"kn1": 2, "kn2": 1, "kn3": 1}
        await lab(kn2, "vm launch kvm web[1-2]", "vm launch kvm 2")
        assert Counter(where(kn1, kn2, kn3).values()) == {"kn1": 3, "kn2": 3, "kn3": 2}
        assert sorted(where(kn1, kn2, kn3)) == ["vm-0", "vm-1", "vm-2", "vm-3", "vm-4", "vm-5", "web1", "web2"]
        assert [row[2:] for row in await rows(kn1, "ns schedule status")] == [["completed", "4", "0", "4", "3"]]
        assert [row[2:] for row in await rows(kn2, "ns schedule status")] == [
            ["completed", "2", "0", "2", "2"],
            ["completed", "2", "0", "2", "2"],
        ]


async def test_images_are_awaited_by_a_launch_while_it_runs(tmp_path: Path) -> None:
    """A host that is limited to the namespace may have them so long (`files.lending`)."""
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, kn2)):
        image = tmp_path / "kn1" / "files" / "web.qcow2"
        image.parent.mkdir(exist_ok=True)
        image.write_bytes(b"")
        kn2.backend.held["web"] = asyncio.Event()
        await lab(kn1, f"vm config disk {image}", "vm config schedule kn2")
        launch = asyncio.create_task(kn1.errors("vm launch kvm web", "lab"))
        await until(lambda: bool(kn1.scheduler.awaited("lab")))
        assert kn1.scheduler.awaited("lab") == {str(image)}
        assert kn1.scheduler.awaited("red") == kn2.scheduler.awaited("lab") == set()
        kn2.backend.held["web"].set()
        await launch
        assert kn1.scheduler.awaited("lab") == set()


async def test_a_name_is_taken_whatever_host_it_is_on(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        await lab(kn1, "vm config schedule kn2", "vm launch kvm web")
        assert where(kn1, kn2, kn3) == {"web": "kn2"}
        assert await kn3.errors("vm launch kvm db,web", "lab") == [("kn3", "vm already exists with name `web`")]
        assert len(where(kn1, kn2, kn3)) == 1


async def test_two_launches_at_once_never_share_a_name(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        kn2.backend.held["vm-1"] = asyncio.Event()
        first = asyncio.create_task(kn1.errors("vm launch kvm 3", "lab"))
        await until(lambda: bool(where(kn1, kn3)))
        second = asyncio.create_task(kn1.errors("vm launch kvm 3", "lab"))
        assert await second == []
        assert await kn1.errors("vm launch kvm vm-1", "lab") == [("kn1", "vm already exists with name `vm-1`")]
        assert await kn1.errors("clear namespace lab") == [("kn1", "scheduler still running for namespace `lab`")]
        kn2.backend.held["vm-1"].set()
        assert await first == []
        assert len(where(kn1, kn2, kn3)) == 6


async def test_what_cannot_be_placed_is_refused_before_anything_starts(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        await kn1.has("none", [])
        for line, error in (
            ("vm config schedule kn9", "host is not in namespace: kn9"),
            ("vm config coschedule 0", None),
            ("vm launch kvm 4", "no host has room for vm-3"),
            ("clear vm config coschedule", None),
            ("vm config colocate nobody", None),
            ("vm launch kvm a", "nonexistent colocate VMs: [nobody]"),
            ("clear vm config colocate", None),
            ("ns caps cpu 0.5", None),
            ("vm launch kvm 7", "7 VMs need 7 virtual CPUs, and 3 hosts may promise no more than 6"),
        ):
            assert await kn1.errors(line, "lab") == ([("kn1", error)] if error else []), line
        assert where(kn1, kn2, kn3) == {}
        error = "namespace must contain at least one host to launch VMs"
        assert await kn1.errors("vm launch kvm 1", "none") == [("kn1", error)]


async def test_constraints_hold_with_one_host_too(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1") as (_, (kn1,)):
        await lab(kn1, "vm config schedule localhost", "vm launch kvm a", "clear vm config schedule")
        await lab(kn1, "vm config coschedule 1", "vm launch kvm b", "clear vm config coschedule")
        text = "too many VMs scheduled on kn1 for coschedule requirement of 1: it would have 3"
        [(_, error)] = await kn1.errors("vm launch kvm c", "lab")
        assert error == "no host has room for c"
        [[response]] = await kn1.groups("vm launch kvm c", "lab")
        assert text in response.error
        await lab(kn1, "vm kill b", "vm launch kvm c")


async def test_a_host_holds_to_its_own_limits_whoever_asks(tmp_path: Path) -> None:
    """Two drivers may place VMs at the same time, each in good faith."""
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, kn2)):
        await lab(kn1, "ns del-hosts kn1", "ns caps cpu 0.75")
        kn2.backend.held["a"] = asyncio.Event()
        await kn2.has("other", ["kn2"])
        slow = asyncio.create_task(kn2.errors("vm launch kvm a", "other"))
        await until(lambda: bool(kn2.fleet.residents("other")))
        assert await kn1.errors("vm launch kvm 3", "lab") == [
            ("kn1", "3 VMs need 3 virtual CPUs, and 1 hosts may promise no more than 2")
        ]
        await lab(kn1, "vm launch kvm 2")
        kn2.backend.held["a"].set()
        assert await slow == []


async def test_a_vm_that_a_host_refuses_is_reported_and_not_queued(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        kn2.backend.failures["launch", "b"] = NotFound("no such kernel", hint="vm config kernel")
        [[response]] = await kn1.groups("vm launch kvm a,b,c", "lab")
        assert response.host == "kn2"
        assert response.error == "b: no such kernel\nhint: 2 of 3 VMs were launched; vm config kernel"
        assert sorted(where(kn1, kn2, kn3)) == ["a", "c"]
        assert await kn1.text("ns queue", "lab") == ""
        assert (await rows(kn1, "ns schedule status"))[0][2:] == ["completed", "2", "1", "3", "3"]
        await lab(kn1, "ns queueing true", "vm launch kvm b")
        assert await kn1.errors("ns schedule", "lab") == [("kn2", "no such kernel")]
        assert await rows(kn1, "ns queue list") == []


async def test_hosts_that_are_away_get_nothing_and_are_named(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (network, (kn1, kn2, _kn3)):
        network.crash("kn3")
        assert await kn1.text("vm launch kvm 4", "lab") == 'kn1: no VM was placed on kn3: node "kn3" is not in the mesh'
        assert Counter(where(kn1, kn2).values()) == {"kn1": 2, "kn2": 2}
        await lab(kn1, "vm config schedule kn3")
        assert await kn1.errors("vm launch kvm 1", "lab") == [
            ("kn1", 'host "kn3" is away, and VMs are to run there: vm-4')
        ]
        network.crash("kn2")
        await kn1.has("far", ["kn2", "kn3"])
        assert await kn1.errors("vm launch kvm 1", "far") == [("kn1", 'no host of namespace "far" answers')]


# ---- queue


async def test_queued_vms_are_launched_together(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        none = "namespace must contain at least one queued VM to launch VMs"
        assert await kn1.errors("ns schedule", "lab") == [("kn1", none)]
        await lab(kn1, "ns queueing true", "vm launch kvm a,b", "vm config memory 512", "vm launch kvm 2")
        assert await kn1.text("ns queueing", "lab") == "kn1: true"
        assert where(kn1, kn2, kn3) == {}
        assert await kn1.errors("vm launch kvm b", "lab") == [("kn1", "vm already queued with name `b`")]
        text = await kn1.text(".annotate false ns queue", "lab")
        assert text.splitlines()[:3] == ["VMs: 2", "Names: a,b", "VM Type: kvm"]
        assert "Names: vm-[0-1]" in text
        assert [row[0] for row in await rows(kn1, "ns queue list")] == ["a", "b", "vm-0", "vm-1"]
        await lab(kn1, "vm launch")
        assert Counter(where(kn1, kn2, kn3).values()) == {"kn1": 2, "kn2": 1, "kn3": 1}
        assert await rows(kn1, "ns queue list") == []
        await lab(kn1, "vm launch kvm x", "ns flush")
        assert await kn1.errors("vm launch", "lab") == [("kn1", none)]


async def test_a_placement_that_fails_leaves_the_queue(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        await lab(kn1, "ns queueing true", "vm config coschedule 0", "vm launch kvm 4")
        assert await kn1.errors("ns schedule", "lab") == [("kn1", "no host has room for vm-3")]
        assert len(await rows(kn1, "ns queue list")) == 4 and where(kn1, kn2, kn3) == {}


async def test_a_dry_run_can_be_changed_and_is_carried_out(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, kn2, kn3)):
        for line in ("ns schedule dump", "ns schedule mv a kn2"):
            assert await kn1.errors(line, "lab") == [("kn1", "must run dry-run first")]
        await lab(kn1, "ns queueing true", "vm launch kvm a,b,c", "vm config colocate a", "vm launch kvm d")
        placed = [["a", "kn1"], ["b", "kn2"], ["c", "kn3"], ["d", "kn1"]]
        assert await rows(kn1, "ns schedule dry-run") == placed == await rows(kn1, "ns schedule dump")
        for line, error in (
            ("ns schedule mv a kn9", "new dst host is not in namespace"),
            ("ns schedule mv x,y kn2", "reassign x: vm not found"),
            ("ns schedule mv a kn2", "VMs that belong together are on different hosts: a,d"),
        ):
            assert await kn1.errors(line, "lab") == [("kn1", error)], line
        await lab(kn1, "ns schedule mv a,b,d kn3", "ns schedule")
        assert where(kn1, kn2, kn3) == {"a": "kn3", "b": "kn3", "c": "kn3", "d": "kn3"}
        why = await kn1.text("ns schedule why b", "lab")
        assert "b -> kn3: `ns schedule mv` put it there" in why


async def test_a_dry_run_that_no_longer_holds_is_not_carried_out(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (network, (kn1, kn2, _kn3)):
        await lab(kn1, "ns queueing true", "vm launch kvm a,b", "ns schedule dry-run")
        await lab(kn1, "ns schedule mv a,b kn3")
        network.crash("kn3")
        assert await kn1.errors("ns schedule", "lab") == [("kn1", "VM scheduled on unknown host: `kn3`")]
        assert len(await rows(kn1, "ns queue list")) == 2
        await lab(kn1, "vm launch kvm c")  # the queue is another one now: placed anew
        await lab(kn1, "ns schedule")
        assert Counter(where(kn1, kn2).values()) == {"kn1": 2, "kn2": 1}


async def test_why_shows_the_hosts_as_they_were(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, *_others)):
        await lab(kn1, "vm config schedule kn1", "vm launch kvm 2", "clear vm config schedule", "vm launch kvm web")
        table = (await kn1.text(".annotate false ns schedule why web", "lab")).splitlines()
        assert table[0].startswith("web -> kn2: the least loaded host by cpucommit")
        assert [[cell.strip() for cell in line.split("|")] for line in table[1:]] == [
            ["candidate", "load", "vms", "verdict"],
            ["kn1", "0.500", "2", "more loaded, or equally loaded and later by name"],
            ["kn2", "0.000", "0", "chosen"],
            ["kn3", "0.000", "0", "more loaded, or equally loaded and later by name"],
        ]
        assert await kn1.errors("ns schedule why nobody", "lab") == [("kn1", "vm not found: nobody")]


async def test_a_queue_outlives_the_daemon_and_what_was_begun_is_looked_for(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (_, (kn1, kn2, kn3)):
        space = await kn1.namespaces.ensure("lab")
        await lab(kn1, "ns queueing true", "vm launch kvm a,b,c")
        plans = {queued.plan.name: queued.plan for queued in space.queue.vms()}
        await space.queue.begin([plans["a"], plans["b"]])
        await kn3.fleet.launch([plans["a"]])  # the launch of `a` had come through when the daemon died
        copy = Journal(tmp_path / "kn1" / "journal.db", "kn1")
        again = Queue(copy, "lab")
        for record in copy.read(KIND):
            again.recover(decode(record, QueuedVm))
        again.recover_begun(decode(copy.read(BEGUN)[0], list[str]))
        copy.close()
        assert again.vms() == space.queue.vms() and again.begun() == [plans["a"], plans["b"]]
        await lab(kn1, "ns schedule")
        assert sorted(where(kn1, kn2, kn3)) == ["a", "b", "c"]
        uuids = {vm.name: vm.uuid for daemon in (kn1, kn2, kn3) for vm in daemon.fleet.machines("lab")}
        assert uuids["a"] == plans["a"].uuid and uuids["c"] == plans["c"].uuid and uuids["b"] != plans["b"].uuid
        assert kn1.agreement.fences.fenced([plans["b"].uuid])
