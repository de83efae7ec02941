"""Commands for VMs of hosts that are away: by the rules in whatever order, and by daemons over a mesh in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from megatools.minimega.cluster.errand_rules import Errand, Standing, last_written, settle
from megatools.minimega.state.stamps import Stamp, wall_ms
from megatools.minimega.vm.lifecycle import VmState
from megatools.minimega.vm.operations import EVERY_TAG
from tests.unit.minimega.cluster.daemons import Daemon, daemons

KN = ("kn1", "kn2", "kn3")
KEYS = ("", "a", "b")


async def until(condition: Callable[[], bool]) -> None:
    """Let everything run until something is true."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


# ---- rules


class Away(RuleBasedStateMachine):
    """One VM, written to on both sides of a partition; what comes from the other arrives late, mixed up, and again.

    The model is the plain history: every write in order of its stamp.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = 100
        self.vm = Standing(Stamp(50, 0, "kn1"), Stamp(50, 0, "kn1"), {"a": "configured"})
        self.history: list[tuple[Stamp, Errand]] = []
        self.elsewhere: list[tuple[Stamp, Errand]] = []

    @rule(
        node=st.sampled_from(KN),
        key=st.sampled_from(KEYS),
        value=st.sampled_from(("x", "y", None)),
        kill=st.integers(0, 9),
        tick=st.integers(0, 1),
    )
    def ask_elsewhere(self, node: str, key: str, value: str | None, kill: int, tick: int) -> None:
        """The VM's host is away for somebody who writes to a tag, removes it, or kills the VM."""
        self.clock += tick
        errand = Errand("kn1", "lab", "vm", kill=kill == 0, key=key, value=value if key else None)
        each = Stamp(self.clock, len(self.history), node), errand
        self.history.append(each)
        self.elsewhere.append(each)

    @rule(key=st.sampled_from(KEYS[1:]), value=st.sampled_from(("x", "y")))
    def write_here(self, key: str, value: str) -> None:
        """The VM's host writes to a tag itself."""
        self.clock += 1
        each = Stamp(self.clock, len(self.history), "kn1"), Errand("kn1", "lab", "vm", key=key, value=value)
        self.history.append(each)
        self.vm = settle(self.vm, [each])

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        """Some of what was asked elsewhere arrives, in any order, and stays to arrive again."""
        if self.elsewhere:
            self.vm = settle(self.vm, data.draw(st.lists(st.sampled_from(self.elsewhere), max_size=4)))

    @rule()
    def heal(self) -> None:
        """All arrives: the VM is what the history says, and its state does not depend on the way there."""
        self.vm = settle(self.vm, self.elsewhere)
        tags, killed = {"a": "configured"}, False
        for _, errand in sorted(self.history, key=lambda each: each[0]):
            if errand.kill:
                killed = True
            elif errand.key == EVERY_TAG:
                tags.clear()
            elif errand.value is None:
                tags.pop(errand.key, None)
            else:
                tags[errand.key] = errand.value
        assert (self.vm.tags, self.vm.killed) == (tags, killed)
        assert settle(self.vm, self.elsewhere) == self.vm

    @invariant()
    def no_tag_is_newer_than_its_writing(self) -> None:
        """What was written is remembered, and nothing is from the future."""
        assert all(last_written(self.vm.written, key).time_ms <= self.clock for key in KEYS)


TestAway = Away.TestCase
TestAway.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


def test_a_vm_launched_after_a_command_is_another_one() -> None:
    launched = Stamp(200, 0, "kn1")
    later = Standing(launched, launched, {"a": "new"})
    kill = Errand("kn1", "lab", "vm", kill=True)
    tag = Errand("kn1", "lab", "vm", key="a", value="old")
    assert settle(later, [(Stamp(199, 0, "kn2"), kill), (Stamp(199, 1, "kn2"), tag)]) == later
    assert settle(later, [(Stamp(200, 0, "kn2"), kill)]).killed


def test_a_vm_launched_again_runs_and_has_the_tags_of_before() -> None:
    again = Standing(Stamp(100, 0, "kn1"), Stamp(200, 0, "kn1"), {"a": "old"})
    kill = Errand("kn1", "lab", "vm", kill=True)
    tag = Errand("kn1", "lab", "vm", key="a", value="new")
    after = settle(again, [(Stamp(150, 0, "kn2"), kill), (Stamp(150, 1, "kn2"), tag)])
    assert (after.killed, after.tags) == (False, {"a": "new"})


# ---- daemons


async def on(daemon: Daemon, *lines: str) -> list[str]:
    """What lines answer in namespace `lab`."""
    return [await daemon.text(line, "lab") for line in lines]


async def test_kills_and_tags_for_a_host_that_is_away_are_done_when_it_returns(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, kn2, kn3)):
        await on(kn1, "vm config schedule kn3", "vm launch kvm a,b", "clear vm config", "vm config schedule kn2")
        await on(kn1, "vm launch kvm c", "vm start all")
        assert {vm.name for vm in kn3.fleet.machines("lab")} == {"a", "b"}
        network.partition(["kn1", "kn2"], ["kn3"])
        away = "kn3 is away; done when it returns"
        assert await on(kn1, "vm kill a") == [f"kn3: {away}"]
        assert await on(kn2, "vm tag a,b,c color red", "vm tag b shape round") == [f"kn3: {away}"] * 2
        [c] = kn2.fleet.machines("lab")
        assert c.tags == {"color": "red"}
        assert await kn1.errors("vm start b", "lab") == [("kn3", 'node "kn3" is not in the mesh')]
        a, b = sorted(kn3.fleet.machines("lab"), key=lambda vm: vm.name)
        asked_ms = wall_ms()
        await until(lambda: wall_ms() > asked_ms)
        await kn3.fleet.tag([b], {"shape": "square"})
        assert a.state is VmState.RUNNING
        network.heal()
        await until(lambda: a.state is VmState.QUIT and not kn1.agreement.shared.all("errand", Errand))
        assert b.tags == {"color": "red", "shape": "square"}
        assert b.state is VmState.RUNNING


async def test_a_node_whose_records_nobody_takes_promises_nothing(tmp_path: Path) -> None:
    async with daemons(tmp_path, *KN, agreeing=True) as (network, (kn1, _kn2, _kn3)):
        network.partition(["kn1", "kn2"], ["kn3"])
        kn1.agreement.errands._may = lambda: False
        assert await kn1.errors("vm kill a", "lab") == [("kn3", 'node "kn3" is not in the mesh')]
        assert not kn1.agreement.shared.all("errand", Errand)


async def test_clocks_hours_apart_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    skews_ms = {"kn2": -3_600_000, "kn3": 3_600_000}
    async with daemons(tmp_path, *KN, agreeing=True, skews_ms=skews_ms) as (network, (kn1, kn2, kn3)):
        await on(kn1, "vm config schedule kn3", "vm launch kvm a,b", "vm start all")
        assert await on(kn3, "vm tag a,b color fast") == [""]
        network.partition(["kn1", "kn2"], ["kn3"])
        away = "kn3: kn3 is away; done when it returns"
        assert await on(kn2, "vm kill a", "vm tag b color slow") == [away] * 2
        a, b = sorted(kn3.fleet.machines("lab"), key=lambda vm: vm.name)
        network.heal()
        await until(lambda: not kn3.agreement.shared.all("errand", Errand) and a.state is VmState.QUIT)
        assert (b.tags, b.state) == ({"color": "slow"}, VmState.RUNNING)
        await on(kn3, "vm tag b color fast")
        assert b.tags == {"color": "fast"}
        network.partition(["kn1", "kn2"], ["kn3"])
        assert await on(kn2, "vm tag b color again") == [away]
        network.heal()
        await until(lambda: b.tags == {"color": "again"})


async def test_a_host_keeps_up_with_a_clock_it_only_met(tmp_path: Path) -> None:
    """What a host with a fast clock does by itself is earlier than what others ask once it is away."""
    async with daemons(tmp_path, *KN, agreeing=True, skews_ms={"kn3": 3_600_000}) as (_, (_, kn2, kn3)):
        clock = kn2.agreement.shared.clock
        await until(lambda: clock.next().time_ms > wall_ms() + 3_000_000)
        await kn3.text("vm launch kvm own")
        [own] = kn3.fleet.machines("minimega")
        assert own.last_launch.time_ms > wall_ms() + 3_000_000
        await until(lambda: clock.next() > own.last_launch)
