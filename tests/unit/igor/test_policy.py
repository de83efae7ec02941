"""Limits and rights."""

import pytest

from megatools.hostkit.errors import PermissionDenied
from megatools.igor.model import nodes
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.config import Limits, Policy
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Reservation, ReservationId, State
from megatools.igor.plan import policy

_ALICE = Person(1000, "alice", frozenset({"users", "physics"}))
_BOB = Person(1001, "bob", frozenset({"users"}))
_ROOT = Person(0, "root", frozenset(), admin=True)
_HOUR = 3600


def _held(owner: str = "alice", count: int = 4, hours: int = 10, group: str = "") -> Reservation:
    return Reservation(
        ReservationId(1), "testing", owner, group, nodes.of(range(count)), 0, hours * _HOUR, State.ACTIVE
    )


def test_whose_limits_count() -> None:
    chosen = Policy(
        limits=Limits(nodes=4, duration_s=_HOUR),
        groups={"users": Limits(nodes=8, duration_s=_HOUR), "physics": Limits(nodes=16, duration_s=2 * _HOUR)},
        people={"carol": Limits(nodes=1)},
    )
    assert policy.limits_of(chosen, _ALICE).nodes == 16
    assert policy.limits_of(chosen, _ALICE).duration_s == 2 * _HOUR
    assert policy.limits_of(chosen, _BOB).nodes == 8
    assert policy.limits_of(chosen, Person(2, "carol", frozenset({"physics"}))).nodes == 1
    assert policy.limits_of(chosen, Person(3, "dan")).nodes == 4
    assert policy.limits_of(chosen, _ROOT) == Limits()


def test_a_group_without_a_limit_is_the_most_generous() -> None:
    chosen = Policy(groups={"users": Limits(nodes=8), "physics": Limits()})
    assert policy.limits_of(chosen, _ALICE).nodes == 0


def test_size_and_scaled_time() -> None:
    limits = Limits(nodes=64, duration_s=12 * _HOUR, scaled=True, horizon_s=24 * _HOUR)
    policy.check_size(limits, 1, 12 * _HOUR, 0)
    policy.check_size(limits, 16, 3 * _HOUR, 24 * _HOUR)
    with pytest.raises(PermissionDenied, match="at most 64 nodes, this one has 65"):
        policy.check_size(limits, 65, _HOUR, 0)
    with pytest.raises(PermissionDenied, match="16 nodes may last at most 3 h, this one lasts 4 h"):
        policy.check_size(limits, 16, 4 * _HOUR, 0)
    with pytest.raises(PermissionDenied, match="24 h ahead"):
        policy.check_size(limits, 1, _HOUR, 25 * _HOUR)


def test_totals() -> None:
    owned = [_held(count=4, hours=10), _held(count=2, hours=1)]
    now_s = 5 * _HOUR
    policy.check_total(Limits(reservations=2, total_nodes=10, node_hours=26), owned, [(6, _HOUR)], now_s)
    with pytest.raises(PermissionDenied, match="at most 1 reservations at a time, this makes 2"):
        policy.check_total(Limits(reservations=1), owned, [(1, 1)], now_s)
    with pytest.raises(PermissionDenied, match="at most 9 nodes in all, this makes 10"):
        policy.check_total(Limits(total_nodes=9), owned, [(6, 1)], now_s)
    with pytest.raises(PermissionDenied, match="node-hours"):
        policy.check_total(Limits(node_hours=25.9), owned, [(6, _HOUR)], now_s)


def test_extending_comes_late() -> None:
    limits = Limits(extend_within_s=_HOUR)
    policy.check_extension(limits, _held(hours=10), 9 * _HOUR)
    with pytest.raises(PermissionDenied, match="in its last 1 h only, it has 2 h left"):
        policy.check_extension(limits, _held(hours=10), 8 * _HOUR)


def test_nodes_kept_for_groups() -> None:
    cluster = Cluster("kn", 1, 20, 4, 5)
    chosen = Policy(nodes={"kn[1-4]": ("physics",), "kn[10-12]": ("chemistry",)})
    assert policy.closed_to(chosen, _ALICE, cluster).text() == "10-12"
    assert policy.closed_to(chosen, _BOB, cluster).text() == "1-4,10-12"
    assert not policy.closed_to(chosen, _ROOT, cluster)


@pytest.mark.parametrize(
    ("reservation", "person", "good_faith", "allowed"),
    [
        (_held(), _ALICE, False, True),
        (_held(), _BOB, False, False),
        (_held(), _BOB, True, True),
        (_held(), _ROOT, False, True),
        (_held(group="physics"), _BOB, False, False),
        (_held("carol", group="users"), _BOB, False, True),
    ],
)
def test_who_may_change(reservation: Reservation, person: Person, good_faith: bool, allowed: bool) -> None:
    assert policy.may_write(reservation, person, good_faith=good_faith, now_s=0) == allowed
    if allowed:
        policy.check_write(reservation, person, good_faith=good_faith)
    else:
        with pytest.raises(PermissionDenied, match='"testing" belongs to "'):
            policy.check_write(reservation, person, good_faith=good_faith)


def test_the_expired_are_fair_game() -> None:
    assert policy.may_write(_held(hours=1), _BOB, good_faith=False, now_s=_HOUR)
    assert not policy.may_write(_held(hours=1), _BOB, good_faith=False, now_s=_HOUR - 1)
