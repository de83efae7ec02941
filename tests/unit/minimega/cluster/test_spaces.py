"""Namespaces over hosts: who belongs to one, on every node the same; destroyed everywhere; hosts that come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.minimega.cluster.daemons import Daemon, daemons
from tests.unit.minimega.cluster.labs import KN, lab, until, where

pytestmark = pytest.mark.anyio


def hosts(daemon: Daemon, namespace: str) -> tuple[str, ...]:
    return daemon.namespaces.membership.hosts(namespace)


async def test_a_new_namespace_has_all_peers_but_the_one_where_it_is_made(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        assert await kn1.text("ns hosts", "minimega") == "kn1: kn1"
        assert await kn1.errors("namespace new") == []
        for daemon in (kn1, kn2, kn3):
            await until(lambda daemon=daemon: hosts(daemon, "new") == ("kn2", "kn3"))  # type: ignore[misc]
            assert await daemon.text("ns hosts", "new") == f"{daemon.name}: kn[2-3]"
        network.partition(["kn1"], ["kn2", "kn3"])
        await kn1.groups("namespace alone")
        assert hosts(kn1, "alone") == ("kn1",)


async def test_hosts_are_added_and_taken_out(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (_, (kn1, kn2, _kn3)):
        await kn1.has("x", ["kn2"])
        for line, now in (
            ("ns add-hosts localhost", ("kn2", "kn1")),
            ("ns add-hosts kn[2-3]", ("kn2", "kn1", "kn3")),
            ("ns del-hosts kn2,kn3", ("kn1",)),
            ("ns add-hosts all", ("kn1", "kn2", "kn3")),
            ("ns del-hosts localhost", ("kn2", "kn3")),
            ("ns del-hosts all", ()),
            ("ns add-hosts kn3", ("kn3",)),
        ):
            assert await kn1.errors(line, "x") == [], line
            assert hosts(kn1, "x") == now
        await until(lambda: hosts(kn2, "x") == ("kn3",))
        assert await kn1.errors("ns add-hosts kn3,kn[8-9]", "x") == [("kn1", "unknown host: `kn8`")]
        assert await kn1.errors("ns del-hosts kn9", "x") == [("kn1", "unknown host: `kn9`")]
        [(_, error)] = await kn1.errors("ns add-hosts kn3", "minimega")
        assert error == 'namespace "minimega" is every host\'s own and has the local host only'


async def test_a_host_with_vms_stays_and_one_that_is_away_comes_back(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        await lab(kn1, "vm launch kvm 3")
        assert await kn1.errors("ns del-hosts kn2", "lab") == [("kn1", 'host "kn2" has 1 VMs of namespace "lab"')]
        network.partition(["kn1", "kn3"], ["kn2"])
        assert (await kn1.text("ns del-hosts kn2", "lab")).startswith("kn1: kn2 did not answer")
        assert hosts(kn1, "lab") == ("kn1", "kn3")
        network.heal()
        await until(lambda: set(hosts(kn1, "lab")) == set(KN) == set(hosts(kn3, "lab")))
        assert len(where(kn1, kn2, kn3)) == 3


async def test_rules_are_the_same_on_every_node(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (_, (kn1, _kn2, kn3)):
        await lab(kn1, "ns load memcommit", "ns caps cpu 4", "ns caps memory 0.9", "ns caps cpu off")
        agreed = kn1.namespaces.membership.rules("lab")
        await until(lambda: kn3.namespaces.membership.rules("lab") == agreed)
        assert await kn3.text(".annotate false ns load", "lab") == "memcommit"
        assert (await kn3.text(".annotate false ns caps", "lab")).splitlines() == [
            "cap    | limit",
            "cpu    | off",
            "memory | 0.9",
        ]
        assert await kn3.text(".annotate false ns load", "minimega") == "cpucommit"
        assert await kn1.errors("ns caps cpu none", "lab") == [("kn1", 'invalid cap "none"')]
        assert await kn1.errors("ns caps cpu 0", "lab") == [("kn1", 'invalid cap "0"')]


async def test_a_namespace_is_destroyed_on_all_hosts_also_on_those_that_were_away(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        await lab(kn1, "vm launch kvm 6")
        network.partition(["kn1", "kn3"], ["kn2"])
        text = await kn1.text("clear namespace lab")
        assert text == "kn1: kn2 did not answer: what is there of the namespace goes once it is back"
        assert not where(kn1, kn3) and len(where(kn2)) == 2
        await until(lambda: "lab" not in kn3.namespaces.names())
        await lab(kn1, "vm launch kvm 2")  # another namespace of that name
        network.heal()
        await until(lambda: not where(kn2))
        assert await kn1.errors("clear namespace nowhere") == [("kn1", "unknown namespace: `nowhere`")]
        assert len(where(kn1, kn3)) == 2


async def test_two_sides_that_made_one_name_end_up_with_both_their_hosts(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", agreeing=True) as (network, (kn1, kn2)):
        network.partition(["kn1"], ["kn2"])
        for daemon in (kn1, kn2):
            assert await daemon.errors(f"vm launch kvm of-{daemon.name}", "twin") == []
        assert (hosts(kn1, "twin"), hosts(kn2, "twin")) == (("kn1",), ("kn2",))
        network.heal()
        await until(lambda: set(hosts(kn1, "twin")) == {"kn1", "kn2"} == set(hosts(kn2, "twin")))
        assert [len(daemon.fleet.machines("twin")) for daemon in (kn1, kn2)] == [1, 1]


async def test_a_namespace_made_independently_outlives_the_end_of_another_of_its_name(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", agreeing=True) as (network, (kn1, kn2)):
        network.partition(["kn1"], ["kn2"])
        assert await kn1.errors("vm launch kvm precious", "twin") == []
        assert await kn2.errors("vm launch kvm other", "twin") == []
        assert await kn2.errors("clear namespace twin") == []
        network.heal()
        await until(lambda: "twin" in kn2.namespaces.names())
        assert hosts(kn2, "twin") == ("kn1",)
        assert [vm.name for vm in kn1.fleet.machines("twin")] == ["precious"]


async def test_a_command_runs_on_every_host(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN) as (_, (kn1, *_others)):
        assert await kn1.text("ns run hostname", "lab") == "kn1: kn1\nkn2: kn2\nkn3: kn3"
        await kn1.has("two", ["kn2", "kn3"])
        assert await kn1.text("ns run echo hi", "two") == "kn[2-3]: hi"
        for line, error in (
            ("ns run vm launch kvm 1", "cannot run `vm launch` via meshage"),
            ("ns run namespace lab vm launch kvm 1", "cannot run `vm launch` via meshage"),
            ("ns run mesh send all version", "cannot run `mesh send` via meshage"),
            ("ns run read /tmp/x", "cannot run `read` via meshage"),
            ("ns run ns run version", "cannot run `ns run` via meshage"),
        ):
            assert await kn1.errors(line, "lab") == [("kn1", error)], line
