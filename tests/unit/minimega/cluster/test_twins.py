"""VMs of one name on several hosts: whoever looks first, all end with names of their own, and the oldest keeps its."""

import asyncio
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from megatools.minimega.cluster.twin_rules import LONGEST, Named, renamed
from megatools.minimega.state.stamps import Stamp, wall_ms
from tests.unit.minimega.cluster.daemons import daemons

HOSTS = ("kn1", "kn2", "kn3")


def at(time_ms: int) -> Stamp:
    """A moment that several launches may share."""
    return Stamp(time_ms, 0, "")


def test_the_oldest_keeps_its_name() -> None:
    vms = [Named(at(20), "kn1", "u1", "web"), Named(at(10), "kn2", "u2", "web"), Named(at(10), "kn3", "u3", "web")]
    assert renamed("kn1", vms) == {"u1": "web-kn1"}
    assert renamed("kn2", vms) == {}
    assert renamed("kn3", vms) == {"u3": "web-kn3"}


def test_a_name_that_is_taken_is_not_taken_again() -> None:
    vms = [Named(at(1), "kn1", "u1", "web"), Named(at(2), "kn2", "u2", "web"), Named(at(3), "kn1", "u3", "web-kn2")]
    assert renamed("kn2", vms) == {"u2": "web-kn2-2"}


def test_long_names_stay_within_the_limit() -> None:
    name = "n" * LONGEST
    (new,) = renamed("kn2", [Named(at(1), "kn1", "u1", name), Named(at(2), "kn2", "u2", name)]).values()
    assert len(new) == LONGEST
    assert new.endswith("-kn2")


class Histories(RuleBasedStateMachine):
    """Hosts launch on any sides of partitions; each looks at those it reaches, in any order, again and again."""

    @initialize()
    def begin(self) -> None:
        self.vms: dict[str, Named] = {}
        self.sides = dict.fromkeys(HOSTS, 0)
        self.launched = 0
        self.first: dict[str, str] = {}

    def seen_by(self, host: str) -> list[Named]:
        return [vm for vm in self.vms.values() if self.sides[vm.host] == self.sides[host]]

    @rule(sides=st.lists(st.integers(0, 1), min_size=3, max_size=3))
    def part(self, sides: list[int]) -> None:
        self.sides = dict(zip(HOSTS, sides, strict=True))

    @rule(host=st.sampled_from(HOSTS), name=st.sampled_from(("web", "db", "web-kn2")), late=st.integers(0, 3))
    def launch(self, host: str, name: str, late: int) -> None:
        if any(vm.name == name for vm in self.seen_by(host)):
            return  # refused: the name is known to be in use
        self.launched += 1
        uuid = f"u{self.launched}"
        self.vms[uuid] = Named(at(self.launched + late), host, uuid, name)
        oldest = self.vms.get(self.first.get(name, ""))
        if oldest is None or self.vms[uuid] < oldest:
            self.first[name] = uuid

    @rule(host=st.sampled_from(HOSTS))
    def look(self, host: str) -> None:
        for uuid, name in renamed(host, self.seen_by(host)).items():
            assert self.vms[uuid].host == host
            self.vms[uuid] = Named(self.vms[uuid].launched, host, uuid, name)

    @invariant()
    def none_is_lost(self) -> None:
        assert len(self.vms) == self.launched

    def teardown(self) -> None:
        self.sides = dict.fromkeys(HOSTS, 0)
        for _ in range(len(HOSTS) * 3):  # healed: all look, and look again
            for host in HOSTS:
                self.look(host)
        names = [vm.name for vm in self.vms.values()]
        assert len(names) == len(set(names))
        assert not any(renamed(host, list(self.vms.values())) for host in HOSTS)
        for vm in self.vms.values():
            assert vm.name.partition("-")[0] in ("web", "db")


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


async def test_hosts_rename_their_own_and_say_what_was(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (network, (kn1, kn2, _)):
        await kn1.has("lab", ("kn1", "kn2", "kn3"))
        await kn2.has("lab", ("kn1", "kn2", "kn3"))
        network.partition(["kn1"], ["kn2", "kn3"])
        assert await kn1.errors("vm launch kvm twin", "lab") == []
        await asyncio.sleep(0)
        assert await kn2.errors("vm launch kvm twin", "lab") == []
        network.heal()
        for daemon in (kn1, kn2):
            await daemon.agreement.twins.settle(daemon.hosts, "lab", ("kn1", "kn2", "kn3"))
        rows = (await kn1.text(".columns name vm info", "lab")).splitlines()[1:]
        names = sorted(row.rpartition("|")[2].strip() for row in rows)
        assert len(names) == 2
        assert "twin" in names
        assert any(name.startswith("twin-kn") for name in names)
        assert "renamed-from" in await kn1.text("vm tag all", "lab")


async def test_the_first_keeps_its_name_whatever_the_clocks_say(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", agreeing=True, skews_ms={"kn1": 3_600_000}) as (network, (kn1, kn2)):
        async with asyncio.timeout(20):
            while kn2.agreement.shared.clock.next().time_ms < wall_ms() + 3_000_000:
                await asyncio.sleep(0)
        network.partition(["kn1"], ["kn2"])
        assert await kn1.errors("vm launch kvm twin", "lab") == []
        [first] = kn1.fleet.machines("lab")
        async with asyncio.timeout(20):
            while kn2.agreement.shared.clock.next() < first.last_launch:
                await asyncio.sleep(0)
        assert await kn2.errors("vm launch kvm twin", "lab") == []
        network.heal()
        for daemon in (kn1, kn2):
            await daemon.agreement.twins.settle(daemon.hosts, "lab", ("kn1", "kn2"))
        assert [vm.name for vm in kn1.fleet.machines("lab")] == ["twin"]
        assert [vm.name for vm in kn2.fleet.machines("lab")] == ["twin-kn2"]
