"""A model of hosts that vote on VLAN tables, with everything that can go wrong between them; for test_quorum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from megatools.minimega.cluster.quorum import (
    Council,
    Decree,
    Round,
    Seat,
    Vote,
    accept,
    prepare,
)
from megatools.minimega.cluster.vlan_table import Allocate, Change, SetHosts, Surroundings, Table, adopt, apply
from megatools.minimega.net.vlan_numbers import Range
from megatools.minimega.state.stamps import Stamp

HOSTS = ("kn1", "kn2", "kn3", "kn4", "kn5")
NAMES = ("lan", "dmz", "lab")
# Councils and sides that have little in common are met more often than chance would have it.
SIDES = st.one_of(
    st.sampled_from(["kn1 kn2", "kn4 kn5", "kn3 kn4 kn5", "kn1 kn2 kn3", " ".join(HOSTS)]).map(
        lambda text: set(text.split())
    ),
    st.sets(st.sampled_from(HOSTS)),
)
DEAF = st.one_of(st.just(set[str]()), SIDES)
COUNCILS = SIDES.filter(lambda hosts: len(hosts) >= 3).map(lambda hosts: SetHosts(tuple(sorted(hosts))))
AROUND = Surroundings({}, (), (), Range(101, 200), 101)


@dataclass
class Node:
    """One host: `vote`, `passed` and `id` are on its disk; `rounds` are lost in a crash."""

    name: str
    id: str
    vote: Vote = field(default_factory=Vote)
    passed: Decree | None = None
    up: bool = True
    time: int = 0
    rounds: dict[Stamp, tuple[Round, Change]] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """Something on its way."""

    sender: str
    to: str
    kind: str
    ballot: Stamp
    decree: Decree | None = None
    id: str = ""


class Cluster(RuleBasedStateMachine):
    """A namespace's hosts, and how they behave."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, Node] = {}
        self.mail: list[Message] = []
        self.cut: set[frozenset[str]] = set()
        self.given: dict[str, int] = {}  # what was acknowledged
        self.forgetful = ""
        self.lives = 0
        self.deaf: set[str] = set()
        self.paused: list[Message] = []

    @initialize(count=st.integers(3, 5), founded=st.booleans())
    def begin(self, count: int, founded: bool) -> None:
        """The hosts, and who of them decides at first; they may have decided on a name already."""
        self.founders = Council(tuple(Seat(name, f"{name}.0") for name in HOSTS[:count]), "kn1")
        for name in HOSTS:
            self.nodes[name] = Node(name, f"{name}.0")
        if founded:
            self.work("kn1", set(HOSTS), Allocate(("lab",)), set())

    @rule(name=st.sampled_from(HOSTS))
    @precondition(lambda self: not self.forgetful)
    def wipe(self, name: str) -> None:
        """A host comes back without its disk; one at a time until its seat is filled anew."""
        self.lives += 1
        self.forgetful = name
        self.nodes[name] = Node(name, f"{name}.{self.lives}")

    @rule(one=st.sampled_from(HOSTS), other=st.sampled_from(HOSTS))
    def gossip(self, one: str, other: str) -> None:
        """One host hears what another knows to have passed."""
        self.learn(self.nodes[one], self.nodes[other].passed)

    def work(self, name: str, side: set[str], change: Change, deaf: set[str], *, pause: bool = False) -> None:
        """A side gets on with something, but what is to be accepted does not reach `deaf` hosts, or nobody yet."""
        with self.only(side | {name}):
            self.deaf = set(HOSTS) if pause else deaf
            self.start(name, change)
            self.flow(1000)
            self.deaf = set()

    @contextmanager
    def only(self, side: set[str], *, keep: bool = False) -> Iterator[None]:
        """A while during which a side is up and by itself, and nothing old arrives, unless it is kept."""
        up = {host: node.up for host, node in self.nodes.items()}
        mail, self.mail, cut = ([], self.mail, self.cut) if keep else (self.mail, [], self.cut)
        self.cut = {frozenset((one, other)) for one in side for other in HOSTS if other not in side}
        for host in side:
            self.nodes[host].up = True
        yield
        self.mail, self.cut = mail, cut
        for host, was in up.items():
            self.nodes[host].up = was

    @invariant()
    def no_number_has_two_names(self) -> None:
        """Among all that was acknowledged."""
        assert len(set(self.given.values())) == len(self.given)

    def teardown(self) -> None:
        """Healed, all get their numbers, and agree."""
        if not self.nodes:
            return
        self.cut.clear()
        self.mail.clear()
        for node in self.nodes.values():
            node.up = True
        for name in HOSTS:
            for alias in NAMES:
                self.get(name, alias)
        for name in HOSTS:
            for other in HOSTS:
                self.learn(self.nodes[name], self.nodes[other].passed)
        assert len({node.passed.ballot for node in self.nodes.values() if node.passed is not None}) == 1
        for node in self.nodes.values():
            assert node.passed is not None
            assert node.passed.table.aliases == self.given

    def flow(self, count: int) -> None:
        """Messages arrive in order."""
        for _ in range(count):
            if self.mail:
                self.receive(self.mail.pop(0))

    # ---- how hosts behave, as cluster.authority does

    def get(self, name: str, alias: str) -> None:
        """Try until it is had: each try may meet a promise that is higher."""
        for _ in range(8):
            passed = self.nodes[name].passed
            if passed is not None and alias in passed.table.aliases:
                assert self.given.get(alias, passed.table.aliases[alias]) == passed.table.aliases[alias]
                return
            self.start(name, Allocate((alias,)))
            self.flow(400)
        raise AssertionError(f"{name} got no number for {alias}")

    def start(self, name: str, change: Change) -> None:
        """A proposer asks for promises."""
        node = self.nodes[name]
        if not node.up:
            return
        node.time += 1
        ballot = Stamp(node.time, self.lives, name)
        round_ = Round(ballot, self.founders, node.passed)
        node.rounds[ballot] = round_, change
        self.ask(node, round_)

    def ask(self, node: Node, round_: Round) -> None:
        """Send to those who have not answered, itself first."""
        for host in sorted(round_.electors.difference(round_.promises), key=lambda host: (host != node.name, host)):
            self.mail.append(Message(node.name, host, "prepare", round_.ballot))

    def receive(self, message: Message) -> None:
        """A message arrives, unless it cannot."""
        node = self.nodes[message.to]
        if not node.up or frozenset((message.sender, message.to)) in self.cut:
            return
        if message.kind == "accept" and message.to in self.deaf:
            self.paused.append(message)
            return
        node.time = max(node.time, message.ballot.time_ms)
        match message.kind:
            case "prepare" | "accept":
                self.elect(node, message)
            case _:
                self.tally(node, message)

    def elect(self, node: Node, message: Message) -> None:
        """An elector answers, once its vote is on disk."""
        asked = message.decree
        vote = prepare(node.vote, message.ballot) if asked is None else accept(node.vote, asked)
        if vote is None:
            self.mail.append(Message(node.name, message.sender, "refusal", message.ballot, id=node.id))
            node.time = max(node.time, node.vote.promised.time_ms)
            return
        told, node.vote = node.vote.decree, vote
        kind = "promise" if asked is None else "vote"
        self.mail.append(
            Message(node.name, message.sender, kind, message.ballot, told if asked is None else None, node.id)
        )

    def tally(self, node: Node, message: Message) -> None:
        """A proposer hears an answer."""
        if message.ballot not in node.rounds:
            return
        round_, change = node.rounds[message.ballot]
        sender = self.nodes[message.sender]
        match message.kind:
            case "refusal":
                node.time = max(node.time, sender.vote.promised.time_ms)
            case "promise" if round_.decree is None:
                before = round_.electors
                round_.promise(message.sender, message.id, message.decree)
                if round_.electors != before:
                    self.ask(node, round_)
                if round_.may_propose:
                    self.propose(node, round_, change)
            case "vote":
                round_.vote(message.sender, message.id)
                if round_.has_passed and round_.decree is not None:
                    self.passed(node, round_.decree, change)

    def propose(self, node: Node, round_: Round, change: Change) -> None:
        """Change what was told, and ask for votes."""
        base = round_.base
        table = Table(founded=round_.ballot) if base is None else base.table
        for stranger in round_.strangers:
            table = adopt(table, stranger.aliases)
        table, _ = apply(table, change, AROUND)
        decree = round_.propose(table, change.hosts if isinstance(change, SetHosts) else ())
        for host in sorted(round_.electors | {name for council in decree.councils for name in council.names}):
            self.mail.append(Message(node.name, host, "accept", round_.ballot, decree))

    def passed(self, node: Node, decree: Decree, change: Change) -> None:
        """The proposer acknowledges."""
        self.learn(node, decree)
        if self.forgetful and Seat(self.forgetful, self.nodes[self.forgetful].id) in decree.council.seats:
            if decree.former is None:
                self.forgetful = ""
        for alias, number in decree.table.aliases.items():
            assert self.given.setdefault(alias, number) == number, f"{alias} was renumbered"
        if isinstance(change, Allocate):
            assert set(change.names) <= set(self.given)

    def learn(self, node: Node, decree: Decree | None) -> None:
        """A host knows what has passed."""
        if decree is not None and (node.passed is None or decree.ballot > node.passed.ballot):
            node.passed = decree
            node.time = max(node.time, decree.ballot.time_ms)

    def known(self, node: Node) -> list[Decree]:
        """All a host could tell of."""
        return [decree for decree in (node.vote.decree, node.passed) if decree is not None]
