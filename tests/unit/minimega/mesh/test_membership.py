"""Who is a member: one engine per name, believed only under the name it proved, and not hidden."""

from megatools.minimega.mesh.membership import Membership
from megatools.minimega.mesh.mesh import Member, MemberEvent


def _member(name: str, identity: str, certificate: str = "", *, doubled: bool = False) -> Member:
    return Member(name, identity, f"{identity}:9001", doubled, certificate)


def test_signs_of_life_come_and_go():
    membership = Membership("me")
    assert membership.came(_member("kn1", "a")) == [MemberEvent(_member("kn1", "a"), joined=True)]
    assert membership.came(_member("kn1", "a")) == []
    assert membership.name_of("a") == "kn1"
    assert membership.went("a") == [MemberEvent(_member("kn1", "a"), joined=False)]
    assert membership.went("a") == []
    assert membership.members() == ()


def test_a_name_that_two_claim_is_doubled_until_one_goes():
    membership = Membership("me")
    membership.came(_member("kn1", "a"))
    events = membership.came(_member("kn1", "b"))
    assert [(event.member.id, event.joined) for event in events] == [("a", False), ("a", True), ("b", True)]
    assert [member.doubled for member in membership.get("kn1")] == [True, True]
    membership.went("a")
    assert membership.members() == (_member("kn1", "b"),)


def test_our_own_name_elsewhere_is_doubled():
    membership = Membership("me")
    membership.came(_member("me", "a"))
    assert membership.members() == (_member("me", "a", doubled=True),)


def test_an_engine_counts_only_under_the_name_it_proved():
    membership = Membership("me", must_prove=True)
    assert membership.came(_member("kn1", "a")) == []
    assert membership.proved("a", "kn2#1f") == []
    assert [event.joined for event in membership.proved("a", "kn1#2e")] == [True]


def test_the_hidden_are_no_members():
    membership = Membership("me")
    membership.came(_member("kn1", "a"))
    assert [event.joined for event in membership.hide({"kn1"})] == [False]
    assert membership.all_called("kn1") == [_member("kn1", "a")]
    assert membership.hide((), {"a"}) == []
    assert [event.joined for event in membership.hide(())] == [True]
    assert [event.joined for event in membership.clear()] == [False]


def test_an_engine_that_proved_what_counts_no_more_is_no_member():
    membership = Membership("me", must_prove=True)
    membership.proved("a", "kn1#1f")
    membership.came(_member("kn1", "a"))
    assert membership.deny({"kn1#1f"}) == [MemberEvent(_member("kn1", "a", "kn1#1f"), joined=False)]
    membership.went("a")
    assert membership.came(_member("kn1", "a")) == []
    membership.proved("b", "kn1#2e")  # enrolled again
    assert membership.came(_member("kn1", "b")) == [MemberEvent(_member("kn1", "b", "kn1#2e"), joined=True)]
