"""Gets changes of a VLAN table decided: rounds of promises and votes until one passes. Used by `authority`.

The protocol is in `quorum`, pure; here it meets the mesh, the clock and the journal::

    ballot --> Prepare --enough--> changes applied to the latest --> Accept --enough--> shared record
       ^          | a higher ballot was promised                       | the same, or a number has another name
       +----------+------------------ wait a little ------------------ +

A table that only this host decides about is changed at once, without messages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from megatools.hostkit.errors import Unavailable
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster.polling import Poll
from megatools.minimega.cluster.quorum import Decree, Round
from megatools.minimega.cluster.vlan_messages import Accept, Accepted, Prepare, Promised, Refused, from_bits
from megatools.minimega.cluster.vlan_table import AddAlias, Allocate, Change, Outcome, SetHosts, Table, adopt, apply
from megatools.minimega.cluster.vlan_tables import VlanTables
from megatools.minimega.cluster.voting import Voting
from megatools.minimega.state.stamps import ZERO, Stamp

_TRIES = 16
_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.5


@dataclass
class _Task:
    """Changes of one table on their way; `refused` are numbers that have another name somewhere."""

    key: str
    changes: Sequence[Change]
    again: bool
    beyond: Stamp = ZERO
    refused: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def hosts(self) -> Sequence[str]:
        """The hosts that shall decide later, if that is among the changes."""
        wanted = [change.hosts for change in self.changes if isinstance(change, SetHosts)]
        return wanted[-1] if wanted else ()


class Proposer:
    """Makes decrees; `make_poll` begins a poll of hosts."""

    def __init__(self, tables: VlanTables, voting: Voting, make_poll: Callable[[], Poll]) -> None:
        self._tables = tables
        self._voting = voting
        self._make_poll = make_poll
        self._random = random.Random()
        self._local = tables.roster.local

    async def decide(self, key: str, changes: Sequence[Change], *, again: bool = False) -> Sequence[Outcome]:
        """Change a table; one outcome per change. `again`: they may have been made already, unheard.

        Raises Unavailable when too few hosts answer.
        """
        task = _Task(key, changes, again)
        for number in range(_TRIES):
            if self._is_alone(task):
                outcomes = await self._alone(task)
            else:
                outcomes = await self._try(task)
            if outcomes is not None:
                return outcomes
            await asyncio.sleep(self._random.uniform(0, min(_PAUSE_S * 2**number, _LONGEST_PAUSE_S)))
        raise Unavailable(
            f'the VLANs of namespace "{self._namespace(task)}" are being changed by others all the time',
            hint="try again; a VLAN number works without an agreement",
        )

    # ---- by itself

    def _is_alone(self, task: _Task) -> bool:
        base = self._own_round(task, ZERO).base
        councils = (self._tables.founders(task.key),) if base is None else base.councils
        hosts = {name for council in councils for name in council.names}
        return hosts | set(task.hosts) == {self._local} and self._own_round(task, ZERO).may_propose

    async def _alone(self, task: _Task) -> Sequence[Outcome] | None:
        """One write to the journal: the vote, and what everybody is told."""
        round_ = self._own_round(task, self._tables.shared.clock.next(self._voting.vote(task.key).promised))
        decree, outcomes, _ = self._draft(task, round_, set(), [self._tables.own(task.key)])
        if decree is not None:
            voted = self._voting.cast(task.key, decree)  # nothing was awaited since the vote was read
            if voted is None:
                return None
            await asyncio.gather(voted, self._tables.pass_on(task.key, decree))
        return outcomes

    def _own_round(self, task: _Task, ballot: Stamp) -> Round:
        round_ = self._round(task, ballot)
        round_.promise(self._local, self._voting.id, self._voting.vote(task.key).decree)
        return round_

    # ---- with others

    async def _try(self, task: _Task) -> Sequence[Outcome] | None:
        """One round; None when another one is worth while."""
        ballot = self._tables.shared.clock.next(task.beyond)
        round_ = self._round(task, ballot)
        poll = self._make_poll()
        busy: set[int] = set()
        own: list[dict[str, int]] = []
        await poll.ask(round_.electors, Prepare(task.key, ballot))
        async for host, reply in poll.answers(lambda: round_.may_propose):
            match reply:
                case Promised(id, decree, bits, names):
                    round_.promise(host, id, decree)
                    busy |= from_bits(bits)
                    own.append(names)
                    await poll.ask(round_.electors, Prepare(task.key, ballot))
                case Refused(promised):
                    round_.refuse(promised)
                case _:
                    pass
        if not round_.may_propose:
            self._check_outbid(task, round_, round_.promises, poll)
            return None
        decree, outcomes, fresh = self._draft(task, round_, busy, own)
        if decree is None:
            return outcomes
        return outcomes if await self._vote(task, round_, decree, fresh) else None

    async def _vote(self, task: _Task, round_: Round, decree: Decree, fresh: Collection[int]) -> bool:
        hosts = {name for council in decree.councils for name in council.names}
        poll = self._make_poll()
        await poll.ask(round_.electors | hosts, Accept(task.key, decree, tuple(fresh)))
        async for host, reply in poll.answers(lambda: round_.has_passed):
            match reply:
                case Accepted(id):
                    round_.vote(host, id)
                    if round_.has_passed:
                        break
                case Refused(promised, numbers):
                    round_.refuse(promised)
                    task.refused |= dict.fromkeys(numbers, "that of another namespace")
                case _:
                    pass
        if round_.has_passed:
            await self._tables.pass_on(task.key, decree)
        elif not task.refused:
            self._check_outbid(task, round_, round_.votes, poll)
        return round_.has_passed

    def _check_outbid(self, task: _Task, round_: Round, heard: Collection[str], poll: Poll) -> None:
        """Another round is worth while if a higher ballot was promised. Raises Unavailable if not."""
        task.beyond = max(task.beyond, round_.highest)
        if round_.highest > round_.ballot:
            return
        council = round_.lacking(round_.votes if round_.decree is not None else round_.promised)
        answered = [name for name in council.names if name in heard]
        missing = [name for name in council.names if name not in heard]
        text = (
            f"{compress(answered)} of {compress(council.names)}" if answered else f"none of {compress(council.names)}"
        )
        reasons = "; ".join(sorted({poll.silent[name] for name in missing if name in poll.silent}))
        raise Unavailable(
            f'the hosts of namespace "{self._namespace(task)}" cannot agree on VLANs: {text} answered',
            hint=f"a majority has to, or half of them with {council.owner} ({reasons}); a VLAN number, such as 300, "
            "and names that have one work all the same; `cluster forget` gives up hosts that will not come back",
        )

    # ---- both

    def _round(self, task: _Task, ballot: Stamp) -> Round:
        tables = self._tables
        return Round(ballot, tables.founders(task.key), tables.passed(task.key), tables.roster.gone())

    def _draft(
        self, task: _Task, round_: Round, busy: Collection[int], own: Sequence[dict[str, int]]
    ) -> tuple[Decree | None, Sequence[Outcome], Collection[int]]:
        """The decree to propose, none when all is as wanted and has passed; outcomes; numbers given out anew."""
        base = round_.base
        begun = Table(founded=round_.ballot) if base is None else base.table
        for names in [*(stranger.aliases for stranger in round_.strangers), *own]:
            begun = adopt(begun, names)
        around = self._tables.surroundings(task.key, {**self._voting.named(task.key), **task.refused}, busy)
        table, outcomes = begun, list[Outcome]()
        for change in task.changes:
            table, outcome = apply(table, change, around, again=task.again)
            outcomes.append(outcome)
        decree = round_.propose(table, task.hosts)
        if base is not None and round_.base_has_passed and replaced(decree, base) == base:
            return None, outcomes, ()
        given = any(isinstance(change, Allocate | AddAlias) for change in task.changes)
        fresh = set(table.aliases.values()).difference(begun.aliases.values()) if given else set[int]()
        return decree, outcomes, fresh

    def conflicts(self, key: str, numbers: Collection[int]) -> set[int]:
        """Those of some numbers that have a name in another namespace, as far as this host knows."""
        named = (
            self._voting.named(key).keys() | self._tables.vlans.named_elsewhere(self._tables.namespace_of(key)).keys()
        )
        return named.intersection(numbers)

    def _namespace(self, task: _Task) -> str:
        return self._tables.namespace_of(task.key)


def replaced(decree: Decree, base: Decree) -> Decree:
    """A decree as if it had been made under the ballot of another."""
    return Decree(base.ballot, decree.council, decree.table, decree.former)
