r"""How several hosts agree on one thing without a head node: ballots, promises, votes and councils; pure.

Used by `cluster.authority` for each namespace's VLAN table. One register per namespace, a Paxos register whose value
is read, changed and written back in one round (CASPaxos, Rystsov 2018)::

    proposer                          each elector (journals before it answers)
    Prepare(ballot)          ->       promises to refuse lower ballots; tells what it accepted last
    change the latest told
    Accept(decree)           ->       accepts unless it promised a higher ballot
    enough accepted: passed

Who is enough (`enough`): a majority of a council, or exactly half with the namespace's owner. Any two such groups
have a member in common. A seat whose host lost its memory (its journal is another one) or was given up by the
administrator cannot speak any more: then all the others together are enough too.

A council is changed by a decree as well, in two steps, so that old and new never decide past each other::

    council A  --needs A and B-->  council B, former A  --known to have passed, needs B-->  council B
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from megatools.minimega.cluster.vlan_table import Table
from megatools.minimega.state.stamps import ZERO, Stamp


class Seat(msgspec.Struct, frozen=True, array_like=True):
    """A host's place in a council; `id` is that of its journal, empty as long as it never answered."""

    name: str
    id: str = ""


class Council(msgspec.Struct, frozen=True):
    """Who decides; `epoch` counts the changes."""

    seats: tuple[Seat, ...]
    owner: str
    epoch: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts."""
        return tuple(seat.name for seat in self.seats)


class Decree(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was proposed under a ballot; `former` is the council that has to agree as well."""

    ballot: Stamp
    council: Council
    table: Table
    former: Council | None = None

    @property
    def councils(self) -> tuple[Council, ...]:
        """All that have to agree."""
        return (self.council,) if self.former is None else (self.council, self.former)


class Vote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an elector must never forget: the highest ballot it promised, and what it accepted last."""

    promised: Stamp = ZERO
    decree: Decree | None = None


def prepare(vote: Vote, ballot: Stamp) -> Vote | None:
    """The vote with the promise a proposer asks for; None when a higher one was given."""
    return None if ballot < vote.promised else replace(vote, promised=ballot)


def accept(vote: Vote, decree: Decree) -> Vote | None:
    """The vote for a decree; None when a higher ballot was promised."""
    return None if decree.ballot < vote.promised else Vote(decree.ballot, decree)


def council_of(names: Sequence[str], owner: str, epoch: int = 0) -> Council:
    """A council of hosts that have not answered yet; the first is its owner if `owner` is not among them."""
    return Council(tuple(Seat(name) for name in names), owner if owner in names else names[0], epoch)


def enough(council: Council, voters: Mapping[str, str], gone: Collection[str] = ()) -> bool:
    """Whether those who answered (with the ids of their journals) can decide for a council."""
    with_owner = False
    good = silent_for_ever = 0
    for seat in council.seats:
        id = voters.get(seat.name)
        if id is not None and seat.id in ("", id):
            good += 1
            with_owner = with_owner or seat.name == council.owner
        elif id is not None or seat.name in gone:
            silent_for_ever += 1
    total = len(council.seats)
    return 2 * good > total or (2 * good == total and with_owner) or good + silent_for_ever == total


@dataclass
class Round:
    """One try to pass a decree under one ballot: who answered what, and what may be done next.

    `passed` is the latest decree known to have passed; `founders` decide where there is none; `gone` are hosts that
    the administrator gave up.
    """

    ballot: Stamp
    founders: Council
    passed: Decree | None = None
    gone: frozenset[str] = frozenset()
    promises: dict[str, tuple[str, Decree | None]] = field(default_factory=dict)
    votes: dict[str, str] = field(default_factory=dict)
    decree: Decree | None = None
    highest: Stamp = ZERO

    # ---- promises

    def promise(self, host: str, id: str, decree: Decree | None) -> None:
        """A host promised, and told what it accepted last."""
        self.promises[host] = id, decree

    def refuse(self, promised: Stamp) -> None:
        """A host has promised a higher ballot."""
        self.highest = max(self.highest, promised)

    @property
    def base(self) -> Decree | None:
        """What has to be built upon: the latest of what was told and what is known to have passed."""
        told = [decree for _, decree in self.promises.values() if decree is not None]
        if self.passed is not None:
            told.append(self.passed)
        return max(told, key=lambda decree: decree.ballot, default=None)

    @property
    def base_has_passed(self) -> bool:
        """Whether the base itself is known to have passed."""
        base = self.base
        return base is not None and self.passed is not None and base.ballot == self.passed.ballot

    @property
    def electors(self) -> frozenset[str]:
        """Whom to ask, as far as is known; the proposer is among them, for it may know more than it was told."""
        names = {name for council in self._deciding for name in council.names}
        return frozenset(names | {self.ballot.node, *self.founders.names})

    @property
    def promised(self) -> Mapping[str, str]:
        """Who promised, with the ids of their journals."""
        return {host: id for host, (id, _) in self.promises.items()}

    @property
    def may_propose(self) -> bool:
        """Whether enough have promised."""
        return all(enough(council, self.promised, self.gone) for council in self._deciding)

    def lacking(self, voters: Mapping[str, str]) -> Council:
        """A council that these cannot decide for; the first when there is none."""
        councils = self._deciding if self.decree is None else self.decree.councils
        return next((council for council in councils if not enough(council, voters, self.gone)), councils[0])

    @property
    def strangers(self) -> list[Table]:
        """Tables of other origin that hosts told of: begun elsewhere under the same name."""
        base = self.base
        told = [decree.table for _, decree in self.promises.values() if decree is not None]
        return [table for table in told if base is not None and table.founded != base.table.founded]

    @property
    def _deciding(self) -> tuple[Council, ...]:
        base = self.base
        return (self.founders,) if base is None else base.councils

    # ---- the decree

    def propose(self, table: Table, wanted: Sequence[str] = ()) -> Decree:
        """The decree to ask votes for; `wanted` are the hosts that shall decide later (none: as now)."""
        council, former = self._succession(wanted)
        self.decree = Decree(self.ballot, council, table, former)
        return self.decree

    def vote(self, host: str, id: str) -> None:
        """A host accepted the decree."""
        self.votes[host] = id

    @property
    def has_passed(self) -> bool:
        """Whether enough have accepted."""
        decree = self.decree
        return decree is not None and all(enough(council, self.votes, self.gone) for council in decree.councils)

    def _succession(self, wanted: Sequence[str]) -> tuple[Council, Council | None]:
        base = self.base
        if base is None:
            return self._named(self.founders), None
        council = self._named(base.council)
        if base.former is not None:
            return council, None if self._joint_has_passed(base) else base.former
        later = self._later(council, wanted)
        return (council, None) if later is None else (later, council)

    def _joint_has_passed(self, base: Decree) -> bool:
        passed = self.passed
        if passed is None or passed.table.founded != base.table.founded:
            return False
        return passed.council.epoch == base.council.epoch

    def _named(self, council: Council) -> Council:
        """A council with the ids of those who answered for the first time."""
        seats = tuple(
            replace(seat, id=self.promises[seat.name][0]) if not seat.id and seat.name in self.promises else seat
            for seat in council.seats
        )
        return replace(council, seats=seats)

    def _later(self, council: Council, wanted: Sequence[str]) -> Council | None:
        """The council of the hosts wanted, none when it is the one there is."""
        if not wanted:
            return None
        known = {seat.name: seat.id for seat in council.seats} | {host: id for host, (id, _) in self.promises.items()}
        seats = tuple(Seat(name, known.get(name, "")) for name in wanted)
        if set(seats) == set(council.seats):
            return None
        return Council(seats, council.owner if council.owner in wanted else seats[0].name, council.epoch + 1)
