"""Placing VMs: the rules of B.12, always enforced; the same answer for the same question; and reasons that hold."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, InvalidState, MegaError, NotFound, Unavailable
from megatools.minimega.cluster.demands import Demand, Problem
from megatools.minimega.cluster.placement import NoRoom, Placement, explain, place, verify
from megatools.minimega.namespace.policy import LoadFunction
from megatools.minimega.vm.rooms import Capacity, Caps, Commitments
from tests.unit.minimega.cluster.problems import problems, violations

HOSTS = tuple(Capacity(name, cpus=4, memory_mib=4096) for name in ("kn10", "kn2", "kn1"))


def vms(count: int, **more: int) -> tuple[Demand, ...]:
    return tuple(Demand(f"vm-{number}", memory_mib=512, **more) for number in range(count))


def placed(problem: Problem) -> Placement | None:
    try:
        return place(problem)
    except MegaError:
        return None


# ---- examples


def test_equal_hosts_are_filled_in_the_natural_order_of_their_names() -> None:
    hosts = place(Problem(HOSTS, vms(11))).hosts
    assert [hosts[f"vm-{number}"] for number in range(4)] == ["kn1", "kn2", "kn10", "kn1"]
    assert hosts["vm-10"] == "kn2"


def test_load_is_relative_to_what_a_host_has() -> None:
    mixed = (Capacity("big", cpus=12, memory_mib=1 << 16), Capacity("small", cpus=4, memory_mib=1 << 12))
    hosts = place(Problem(mixed, vms(16))).hosts
    assert list(hosts.values()).count("big") == 12
    hosts = place(Problem(mixed, vms(17), LoadFunction.MEMORY)).hosts
    assert list(hosts.values()).count("big") == 16
    hosts = place(Problem(mixed, vms(16, nics=1), LoadFunction.NETWORK)).hosts
    assert list(hosts.values()).count("big") == 8


def test_what_is_promised_already_counts() -> None:
    busy = msgspec.structs.replace(HOSTS[2], promised=Commitments(vms=2, vcpus=2))
    assert set(place(Problem((*HOSTS[:2], busy), vms(4))).hosts.values()) == {"kn2", "kn10"}


@pytest.mark.parametrize("count", [1, 3])
def test_constraints_hold_on_one_host_and_on_many(count: int) -> None:
    hosts = HOSTS[-count:]
    with pytest.raises(NotFound, match="VM scheduled on unknown host: `kn7`") as unknown:
        place(Problem(hosts, (Demand("a", schedule="kn7"), Demand("b", schedule="kn7"))))
    assert "of VMs a,b" in unknown.value.hint
    with pytest.raises(NotFound, match=r"nonexistent colocate VMs: \[x, y\]"):
        place(Problem(hosts, (Demand("a", colocate="y"), Demand("b", colocate="x"))))
    with pytest.raises(NoRoom, match="too many VMs scheduled on kn1 for coschedule requirement of 0: it would have 2"):
        place(Problem(hosts, (Demand("a", schedule="kn1", coschedule=0), Demand("b", schedule="kn1"))))
    with pytest.raises(InvalidInput, match="3 VMs are colocated, too many for coschedule requirement of 1"):
        place(Problem(hosts, (Demand("a", coschedule=1), Demand("b", colocate="a"), Demand("c", colocate="b"))))
    with pytest.raises(NoRoom, match=f"{count + 1} VMs need {4 * (count + 1)} virtual CPUs, and {count} hosts may"):
        place(Problem(hosts, vms(count + 1, vcpus=4), caps=Caps(cpu=1.0)))


def test_a_host_that_is_away_gets_nothing_and_is_named() -> None:
    problem = Problem(HOSTS, (Demand("a", schedule="kn3"),), away=frozenset({"kn3"}))
    with pytest.raises(Unavailable, match='host "kn3" is away, and VMs are to run there: a'):
        place(problem)
    with pytest.raises(InvalidState, match="namespace must contain at least one host to launch VMs"):
        place(Problem((), vms(1)))


def test_contradictions_are_named() -> None:
    both = (Demand("a", schedule="kn1"), Demand("b", schedule="kn2", colocate="c"), Demand("c", colocate="a"))
    with pytest.raises(InvalidInput, match="different hosts: a on kn1, b on kn2"):
        place(Problem(HOSTS, both))
    with pytest.raises(InvalidInput, match="different hosts: b on kn1, old on kn2"):
        place(Problem(HOSTS, (Demand("a", colocate="old"), Demand("b", schedule="kn1", colocate="a")),
                      homes={"old": "kn2"}))  # fmt: skip


def test_colocated_vms_follow_their_anchor_wherever_it_is() -> None:
    chain = (Demand("c", colocate="b"), Demand("b", colocate="a"), Demand("a"), Demand("d"), Demand("e", colocate="e"))
    hosts = place(Problem(HOSTS, chain)).hosts
    assert hosts["a"] == hosts["b"] == hosts["c"] == "kn1"
    assert place(Problem(HOSTS, chain[:1], homes={"b": "kn10"})).hosts == {"c": "kn10"}


def test_when_spreading_leaves_no_room_vms_are_packed() -> None:
    shy = tuple(Demand(f"shy{number}", coschedule=1) for number in range(2))
    placement = place(Problem(HOSTS[1:], (*shy, *vms(5))))
    assert placement.packed
    assert placement.hosts["shy0"] == placement.hosts["shy1"] == "kn1"
    assert {placement.hosts[f"vm-{number}"] for number in range(5)} == {"kn2"}


def test_a_host_with_a_vm_that_wants_to_be_alone_gets_no_other() -> None:
    alone = msgspec.structs.replace(HOSTS[2], promised=Commitments(vms=1, vm_limit=1))
    assert "kn1" not in place(Problem((*HOSTS[:2], alone), vms(9))).hosts.values()


def test_no_room_says_so_for_every_host_with_numbers() -> None:
    tight = (
        Capacity("kn1", 4, 4096, promised=Commitments(memory_mib=3000), caps=Caps(memory=1.0)),
        Capacity("kn2", 2, 1 << 20, caps=Caps(cpu=1)),
    )
    with pytest.raises(NoRoom) as error:
        place(Problem(tight, (Demand("fat", vcpus=3, memory_mib=2048), *vms(1))))
    assert error.value.message.splitlines() == [
        "no host has room for fat",
        "kn1: 3000 of at most 4096 MiB are promised, 2048 more are needed",
        "kn2: 0 of at most 2 virtual CPUs are promised, 3 more are needed",
    ]


def test_an_explanation_shows_the_hosts_as_they_were() -> None:
    tight = (*HOSTS[:2], Capacity("kn1", 4, 4096, caps=Caps(memory=0.1)))
    problem = Problem(tight, (Demand("b", memory_mib=1024, colocate="a"), Demand("a", memory_mib=1024), *vms(3)))
    placement = place(problem)
    why = explain(problem, placement, "vm-1")
    assert (why.host, why.together) == ("kn10", ())
    assert [(view.host, view.load, view.vms) for view in why.hosts] == [
        ("kn1", "0.000", 0),
        ("kn10", "0.250", 1),
        ("kn2", "0.500", 2),
    ]
    assert [view.verdict.partition(":")[0] for view in why.hosts] == [
        "refused",
        "chosen",
        "more loaded, or equally loaded and later by name",
    ]
    assert explain(problem, placement, "a").together == ("b",)
    with pytest.raises(NotFound, match="vm not found: nobody"):
        explain(problem, placement, "nobody")


def test_a_placement_made_by_hand_is_held_to_the_same_rules() -> None:
    problem = Problem(HOSTS, (Demand("a"), Demand("b", colocate="a"), Demand("c", schedule="kn2")), caps=Caps(cpu=0.5))
    verify(problem, {"a": "kn10", "b": "kn10", "c": "kn2"})
    for hosts, message in (
        ({"a": "kn1", "b": "kn2", "c": "kn2"}, "VMs that belong together are on different hosts: a,b"),
        ({"a": "kn1", "b": "kn1", "c": "kn1"}, "c must be on kn2, not on kn1"),
        ({"a": "kn2", "b": "kn2", "c": "kn2"}, 'host "kn2" cannot take'),
        ({"a": "kn9", "b": "kn9", "c": "kn2"}, "VM scheduled on unknown host: `kn9`"),
    ):
        with pytest.raises(MegaError, match=message):
            verify(problem, hosts)


# ---- properties


@given(problems())
def test_a_placement_breaks_no_rule_and_passes_its_own_check(problem: Problem) -> None:
    placement = placed(problem)
    assume(placement is not None)
    assert placement is not None
    assert violations(problem, placement.hosts) == []
    verify(problem, placement.hosts)


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(problem: Problem, random: st.DataObject) -> None:
    hosts, demands = list(problem.hosts), list(problem.demands)
    random.shuffle(hosts)  # type: ignore[attr-defined]
    random.shuffle(demands)  # type: ignore[attr-defined]
    assert placed(problem) == placed(replace(problem, hosts=tuple(hosts), demands=tuple(demands)))


@given(problems())
def test_what_is_called_impossible_by_its_sums_is_impossible(problem: Problem) -> None:
    """Every assignment of few VMs to few hosts is tried when the error speaks of sums or contradictions."""
    assume(len(problem.demands) <= 4)
    try:
        place(problem)
    except NoRoom as error:
        assume("need" in error.message.partition("\n")[0])
    except InvalidInput:
        pass
    except NotFound:
        return
    names = [demand.name for demand in problem.demands]
    every = itertools.product([host.host for host in problem.hosts], repeat=len(names))
    possible = any(not violations(problem, dict(zip(names, hosts, strict=True))) for hosts in every)
    assert possible == (placed(problem) is not None)


@given(problems(), st.integers(1, 8))
def test_one_more_host_never_takes_away_the_room_of_equal_vms(problem: Problem, cpus: int) -> None:
    alike = tuple(Demand(f"vm-{number}", vcpus=2, memory_mib=1024) for number in range(len(problem.demands)))
    before = replace(problem, demands=alike)
    after = replace(before, hosts=(Capacity("kn0", cpus, 2048, caps=Caps(cpu=1, memory=1)), *before.hosts))
    if placed(before) is not None:
        assert placed(after) is not None


@given(problems())
def test_without_limits_there_is_always_room(problem: Problem) -> None:
    hosts = tuple(Capacity(host.host, host.cpus, host.memory_mib) for host in problem.hosts)
    demands = tuple(msgspec.structs.replace(demand, coschedule=-1, colocate="") for demand in problem.demands)
    assert placed(replace(problem, hosts=hosts, demands=demands, caps=Caps())) is not None


@given(problems())
def test_an_explanation_agrees_with_the_placement(problem: Problem) -> None:
    placement = placed(problem)
    assume(placement is not None)
    assert placement is not None
    for name, host in placement.hosts.items():
        why = explain(problem, placement, name)
        chosen = [view for view in why.hosts if view.verdict == "chosen"]
        assert [view.host for view in chosen] == [host] == [why.host]
        if not placement.packed and "belongs on" not in why.reason:
            willing = [view for view in why.hosts if not view.verdict.startswith("refused")]
            assert willing[0].host == host, "a less loaded host that may take it was passed over"
