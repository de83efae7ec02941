"""This host's votes about VLAN tables: journaled before they are given, and never forgotten. Used by `authority`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from megatools.minimega.cluster import quorum
from megatools.minimega.cluster.quorum import Decree, Vote
from megatools.minimega.cluster.vlan_messages import Accepted, Promised, Refused, as_bits
from megatools.minimega.state.journal import Delete, Journal, Put, decode
from megatools.minimega.state.stamps import Stamp, StampClock

KIND = "vlan-vote"


class Voting:
    """The votes by table; `id` is that of this host's journal."""

    def __init__(self, journal: Journal, clock: StampClock, id: str) -> None:
        self._journal = journal
        self._clock = clock
        self.id = id
        self._votes: dict[str, Vote] = {}

    def recover(self) -> None:
        """Read back what was promised."""
        for record in self._journal.read(KIND):
            vote = decode(record, Vote)
            self._votes[record.id] = vote
            self._clock.saw(vote.promised)

    def keys(self) -> Collection[str]:
        """The tables this host voted on."""
        return list(self._votes)

    def vote(self, key: str) -> Vote:
        """The vote on a table."""
        return self._votes.get(key, Vote())

    async def prepare(
        self, key: str, ballot: Stamp, busy: Callable[[], Collection[int]], own: dict[str, int]
    ) -> Promised | Refused:
        """Promise to refuse lower ballots."""
        self._clock.saw(ballot)
        before = self.vote(key)
        vote = quorum.prepare(before, ballot)
        if vote is None:
            return Refused(before.promised)
        await self._keep(key, vote)
        return Promised(self.id, before.decree, as_bits(busy()), own)

    async def accept(self, key: str, decree: Decree, conflicts: Collection[int] = ()) -> Accepted | Refused:
        """Accept a decree, unless it gives out numbers that have another name here."""
        self._clock.saw(decree.ballot)
        before = self.vote(key)
        vote = quorum.accept(before, decree)
        if vote is None or conflicts:
            return Refused(before.promised, tuple(sorted(conflicts)))
        await self._keep(key, vote)
        return Accepted(self.id)

    def cast(self, key: str, decree: Decree) -> asyncio.Future[None] | None:
        """Accept a decree now; done once it is on disk. None when a higher ballot was promised."""
        vote = quorum.accept(self.vote(key), decree)
        if vote is None:
            return None
        self._votes[key] = vote
        return self._journal.begin(Put(KIND, key, "", vote))

    def named(self, but: str) -> dict[int, str]:
        """The numbers with names in all tables but one, as far as this host voted for them."""
        return {
            number: name
            for key, vote in self._votes.items()
            if key != but and vote.decree is not None
            for name, number in vote.decree.table.aliases.items()
        }

    async def forget(self, key: str) -> None:
        """The table is of a namespace that was destroyed."""
        self._votes.pop(key, None)
        await self._journal.write(Delete(KIND, key))

    async def _keep(self, key: str, vote: Vote) -> None:
        """It binds from now on, and is told to others only once it is on disk."""
        self._votes[key] = vote
        await self._journal.write(Put(KIND, key, "", vote))
