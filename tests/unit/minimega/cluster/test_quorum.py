"""Hosts that crash, forget, lose messages and are cut apart never give a number two names, nor a name two numbers."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from megatools.minimega.cluster.quorum import (
    Council,
    Seat,
    enough,
)
from megatools.minimega.cluster.vlan_table import Allocate, SetHosts
from tests.unit.minimega.cluster.councils import COUNCILS, DEAF, HOSTS, NAMES, SIDES, Cluster


@pytest.mark.parametrize(
    ("hosts", "voters", "gone", "expected"),
    [
        ("1", "1", "", True),
        ("1", "", "", False),
        ("12", "1", "", True),  # half with the owner
        ("12", "2", "", False),
        ("123", "1", "", False),
        ("123", "23", "", True),
        ("1234", "12", "", True),
        ("1234", "23", "", False),
        ("1234", "234", "", True),
        ("12", "2", "1", True),  # the other was given up
        ("123", "2", "1", False),
        ("123", "2", "13", True),
    ],
)
def test_who_is_enough(hosts: str, voters: str, gone: str, expected: bool) -> None:
    council = Council(tuple(Seat(host, f"id{host}") for host in hosts), "1")
    assert enough(council, {host: f"id{host}" for host in voters}, gone) is expected


def test_a_host_that_lost_its_memory_does_not_speak_for_its_seat() -> None:
    council = Council((Seat("1", "old"), Seat("2", "b"), Seat("3", "c")), "1")
    assert not enough(council, {"1": "new", "2": "b"})
    assert enough(council, {"2": "b", "3": "c"})
    pair = Council((Seat("1", "old"), Seat("2", "b")), "1")
    assert enough(pair, {"1": "new", "2": "b"})  # nobody else can know more


class Messages(Cluster):
    """Messages come late, twice, out of order or never; hosts crash at any moment."""

    @rule(name=st.sampled_from(HOSTS), alias=st.sampled_from(NAMES))
    def allocate(self, name: str, alias: str) -> None:
        """A host wants a number."""
        self.start(name, Allocate((alias,)))

    @rule(name=st.sampled_from(HOSTS), change=COUNCILS)
    def change_hosts(self, name: str, change: SetHosts) -> None:
        """A host wants others to decide."""
        self.start(name, change)

    @rule(data=st.data())
    @precondition(lambda self: self.mail)
    def deliver(self, data: st.DataObject) -> None:
        """One message arrives, out of order; it may come again."""
        message = data.draw(st.sampled_from(self.mail))
        if not data.draw(st.booleans()):
            self.mail.remove(message)
        self.receive(message)

    @rule(data=st.data())
    @precondition(lambda self: self.mail)
    def lose(self, data: st.DataObject) -> None:
        """One message is lost."""
        self.mail.remove(data.draw(st.sampled_from(self.mail)))

    @rule(count=st.integers(1, 40))
    @precondition(lambda self: self.mail)
    def arrive(self, count: int) -> None:
        """Messages arrive in order."""
        self.flow(count)

    @rule(name=st.sampled_from(HOSTS))
    def crash(self, name: str) -> None:
        """A host stops, and what it was about is lost."""
        self.nodes[name].up = False
        self.nodes[name].rounds.clear()

    @rule(name=st.sampled_from(HOSTS))
    def restart(self, name: str) -> None:
        """A host comes back with its disk."""
        self.nodes[name].up = True

    @rule(side=SIDES)
    def partition(self, side: set[str]) -> None:
        """Two sides cannot reach each other."""
        self.cut = {frozenset((one, other)) for one in side for other in HOSTS if other not in side}

    @rule()
    def heal(self) -> None:
        """They can."""
        self.cut.clear()


class Sides(Cluster):
    """Whole changes, by sides that see little of each other; some stop half way and are taken up much later."""

    @rule(name=st.sampled_from(HOSTS), side=SIDES, alias=st.sampled_from(NAMES), deaf=DEAF, pause=st.booleans())
    def allocate(self, name: str, side: set[str], alias: str, deaf: set[str], pause: bool) -> None:
        """A side wants a number; what is to be accepted does not reach all of it, or not yet."""
        self.work(name, side, Allocate((alias,)), deaf, pause=pause)

    @rule(name=st.sampled_from(HOSTS), side=SIDES, change=COUNCILS, deaf=DEAF, pause=st.booleans())
    def change_hosts(self, name: str, side: set[str], change: SetHosts, deaf: set[str], pause: bool) -> None:
        """A side wants others to decide."""
        self.work(name, side, change, deaf, pause=pause)

    @rule(deaf=DEAF)
    @precondition(lambda self: self.paused)
    def resume(self, deaf: set[str]) -> None:
        """What had stopped half way goes on."""
        self.mail, self.paused = self.paused, []
        with self.only(set(HOSTS), keep=True):
            self.deaf = deaf
            self.flow(1000)
            self.deaf = set()

    @rule(name=st.sampled_from(HOSTS), side=SIDES)
    def calm(self, name: str, side: set[str]) -> None:
        """For a while a side is well: then numbers can be had exactly if it is enough."""
        side = side | {name}
        known = [decree for host in side for decree in self.known(self.nodes[host])]
        councils = [council for decree in known for council in decree.councils] or [self.founders]
        voters = {host: self.nodes[host].id for host in side}
        with self.only(side):
            if all(enough(council, voters) for council in councils):
                for alias in NAMES:
                    self.get(name, alias)
            elif not any(enough(council, voters) for council in [*councils, self.founders]):
                given = dict(self.given)
                self.start(name, Allocate(("new",)))
                self.flow(400)
                assert self.given == given


ALL = set(HOSTS)


def _founded() -> Cluster:
    """Five hosts, of which three have decided on a name."""
    cluster = Cluster()
    cluster.begin(3, founded=True)
    assert cluster.given == {"lab": 101}
    return cluster


def test_old_and_new_council_do_not_decide_past_each_other() -> None:
    cluster = _founded()
    cluster.work("kn4", ALL, SetHosts(("kn3", "kn4", "kn5")), deaf={"kn1", "kn2", "kn3"})
    cluster.work("kn1", {"kn1", "kn2"}, Allocate(("lan",)), deaf=set())
    assert cluster.given == {"lab": 101, "lan": 102}
    for name in ("kn4", "kn5"):
        cluster.work(name, {"kn4", "kn5"}, Allocate(("dmz",)), deaf=set())
    assert cluster.given == {"lab": 101, "lan": 102}
    cluster.teardown()


def test_a_change_of_council_that_may_not_have_passed_is_not_built_upon() -> None:
    cluster = _founded()
    cluster.work("kn4", ALL, SetHosts(("kn3", "kn4", "kn5")), deaf=ALL - {"kn4"})
    cluster.work("kn4", ALL, Allocate(("dmz",)), deaf=ALL - {"kn4", "kn5"})
    assert cluster.given == {"lab": 101}
    for _ in range(2):  # the first try meets the promises to kn4
        cluster.work("kn1", {"kn1", "kn2"}, Allocate(("lan",)), deaf=set())
    assert cluster.given == {"lab": 101, "lan": 102}
    cluster.teardown()


def test_a_proposer_that_slept_does_not_overrule() -> None:
    cluster = _founded()
    cluster.work("kn1", {"kn1", "kn2"}, Allocate(("lan",)), deaf=set(), pause=True)
    late, cluster.paused = cluster.paused, []
    for _ in range(2):
        cluster.work("kn2", {"kn2", "kn3"}, Allocate(("dmz",)), deaf=set())
    cluster.mail = late
    cluster.flow(100)
    assert cluster.given == {"lab": 101, "dmz": 102}
    cluster.teardown()


def test_all_hosts_can_be_exchanged() -> None:
    cluster = _founded()
    for _ in range(2):  # once to agree on it together, once to leave the former behind
        cluster.work("kn1", ALL, SetHosts(("kn4", "kn5")), deaf=set())
    for _ in range(2):
        cluster.work("kn5", {"kn4", "kn5"}, Allocate(("lan",)), deaf=set())
    assert cluster.given == {"lab": 101, "lan": 102}


Messages.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
Sides.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
TestMessages = Messages.TestCase
TestSides = Sides.TestCase
