"""Who is waited for, and when a node is alone with another of those it knew: partitions, restarts, hosts that died."""

from __future__ import annotations

from megatools.minimega.mesh.returning import TOGETHER_S, Returning


def _here(*names: str) -> Returning:
    """These have been here since 0 s, and told what they know."""
    nodes = Returning()
    for name in names:
        nodes.came(name, name, 0)
        nodes.told(name)
    return nodes


def test_those_that_went_together_are_waited_for_and_no_others() -> None:
    nodes = _here("kn1", "kn2", "kn3", "kn4")
    nodes.went("kn1", 100)
    nodes.went("kn2", 200)
    nodes.went("kn3", 200 + TOGETHER_S)
    nodes.went("kn4", 210)
    went_s = nodes.came("kn4#2", "kn4", 300)
    assert went_s == 210
    assert nodes.awaited(went_s, 300, ()) == {"kn2", "kn3"}
    assert nodes.awaited(went_s, 300, {"kn3"}) == {"kn2"}
    nodes.give_up("kn2")
    assert nodes.awaited(went_s, 300, {"kn3"}) == set()
    assert nodes.awaited(went_s, 100_000, ()) == set(), "not for days"


def test_after_a_restart_all_that_were_there_are_waited_for_and_kept() -> None:
    nodes = Returning()
    nodes.begin(["kn1", "kn2"], 1000)
    assert nodes.came("a", "kn1", 1001) == 1000
    assert nodes.awaited(1000, 1001, ()) == {"kn2"}
    assert nodes.worth_keeping == {"kn1", "kn2"}
    nodes.give_up("kn2")
    assert nodes.worth_keeping == {"kn1"}
    nodes.went("a", 1002)
    assert not nodes.went("a", 1003)
    assert nodes.worth_keeping == set(), "it went while we were here: we know what it knew"


def test_a_node_that_was_away_is_alone_until_another_is_back_and_has_told() -> None:
    nodes = Returning()
    nodes.begin(["kn1", "kn2", "kn3"], 1000)
    went_s = nodes.came("1", "kn1", 1001)
    nodes.told("1")
    assert nodes.is_alone_with("kn1", went_s, 1001, ())
    nodes.came("2", "kn2", 1002)
    assert nodes.is_alone_with("kn1", went_s, 1002, ()), "it has not told yet"
    nodes.told("2")
    assert not nodes.is_alone_with("kn1", went_s, 1002, ())
    assert nodes.is_alone_with("kn1", went_s, 1002, {"kn2"}), "one that is revoked does not count"


def test_the_other_of_two_may_be_served() -> None:
    nodes = Returning()
    nodes.begin(["kn1"], 1000)
    assert not nodes.is_alone_with("kn1", nodes.came("1", "kn1", 1001), 1001, ())


def test_where_more_stayed_than_went_nobody_is_alone() -> None:
    nodes = _here("kn1", "kn2", "kn3", "kn4")
    nodes.went("kn3", 100)
    nodes.went("kn4", 100)
    assert not nodes.is_alone_with("kn3", nodes.came("3", "kn3", 200), 200, ())
    nodes = _here("kn1", "kn2", "kn3", "kn4")
    for name in ("kn2", "kn3", "kn4"):
        nodes.went(name, 100)
    assert nodes.is_alone_with("kn3", nodes.came("3", "kn3", 200), 200, ())


def test_a_node_that_is_new_is_no_sign_of_having_been_away() -> None:
    nodes = _here("kn1", "kn2")
    nodes.went("kn2", 100)
    assert not nodes.is_alone_with("kn9", nodes.came("9", "kn9", 105), 105, ())
