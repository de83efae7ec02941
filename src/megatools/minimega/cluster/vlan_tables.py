"""The VLAN tables of all namespaces as this host knows them: what has passed, who decides, what to keep away from.

Used by `proposing` and `authority`. A table belongs to one incarnation of a namespace (`namespace.membership`); that
of the default namespace is one for all members of the cluster (`roster`). What has passed is a shared record of kind
`vlan` whose stamp is the ballot, so that the latest decree wins everywhere, whoever tells of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

import msgspec

from megatools.minimega.cluster.quorum import Council, Decree, Seat
from megatools.minimega.cluster.roster import Roster
from megatools.minimega.cluster.vlan_table import Surroundings, spread_start
from megatools.minimega.lang.call import DEFAULT_NAMESPACE
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.net.vlan_numbers import Agreed
from megatools.minimega.net.vlans import Vlans
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import ZERO, Stamp

KIND, TAKEN = "vlan", "vlan-taken"
_OF = "@"


class TakenRecord(msgspec.Struct, frozen=True):
    """Shared kind `vlan-taken`, id the host: numbers used there as they are."""

    numbers: tuple[int, ...]


class VlanTables:
    """All tables."""

    def __init__(self, shared: Shared, roster: Roster, membership: Membership, vlans: Vlans) -> None:
        self.shared = shared
        self.roster = roster
        self.vlans = vlans
        self._membership = membership
        self._changed = asyncio.Event()
        shared.watch(KIND, self._note)

    # ---- which table

    def key_of(self, namespace: str) -> str | None:
        """The table of a namespace; None for one that does not exist."""
        if namespace == DEFAULT_NAMESPACE:
            return namespace
        record = self._membership.record(namespace)
        return f"{namespace}{_OF}{record.incarnation}" if record is not None and record.incarnation else None

    @staticmethod
    def namespace_of(key: str) -> str:
        """The namespace a table is of."""
        return key.partition(_OF)[0]

    def is_current(self, key: str) -> bool:
        """Whether a table is that of a namespace as it is now."""
        return self.key_of(self.namespace_of(key)) == key

    def is_over(self, key: str) -> bool:
        """Whether a table is of an incarnation that was ended."""
        namespace, _, incarnation = key.partition(_OF)
        record = self._membership.record(namespace) if namespace != DEFAULT_NAMESPACE else None
        return record is not None and incarnation in record.ended

    def current(self) -> Collection[str]:
        """All current tables."""
        found = (self.key_of(namespace) for namespace in (DEFAULT_NAMESPACE, *self._membership.names()))
        return [key for key in found if key is not None]

    # ---- who decides

    def hosts(self, key: str) -> Sequence[str]:
        """The hosts that shall decide about a table."""
        namespace = self.namespace_of(key)
        if namespace == DEFAULT_NAMESPACE:
            return self.roster.names()
        hosts = self._membership.hosts(namespace) if self.is_current(key) else ()
        return hosts or (self.roster.local,)

    def founders(self, key: str) -> Council:
        """Who decides about a table that has no decree yet; the first of its hosts owns it."""
        first = self.roster.first_ids()
        names = self.hosts(key)
        return Council(tuple(Seat(name, first.get(name, "")) for name in names), names[0])

    def council(self, key: str) -> Council:
        """Who decides about a table now, as far as this host knows."""
        passed = self.passed(key)
        return self.founders(key) if passed is None else passed.council

    # ---- what is agreed on

    def passed(self, key: str) -> Decree | None:
        """The latest decree known to have passed."""
        return self.shared.get(KIND, key, Decree)

    async def pass_on(self, key: str, decree: Decree) -> None:
        """A decree has passed: journal it, show it here and tell the others."""
        await self.shared.put_stamped(KIND, key, decree.ballot, decree)

    async def has_come(self, key: str, ballot: Stamp, timeout_s: float) -> bool:
        """Wait until a decree of another host, or a later one, has come here; whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while ballot > (ZERO if (passed := self.passed(key)) is None else passed.ballot):
                    await self._changed.wait()
                return True
        return False

    def _note(self, _key: str) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def show(self, key: str) -> None:
        """Let this host use what has passed."""
        namespace = self.namespace_of(key)
        current = self.key_of(namespace)
        passed = None if current is None else self.passed(current)
        if passed is None:
            self.vlans.learn(namespace, None)
        else:
            table = passed.table
            self.vlans.learn(namespace, Agreed(table.aliases, table.range, table.blacklist, table.next))

    # ---- what to keep away from

    def surroundings(self, key: str, named: Mapping[int, str], busy: Collection[int]) -> Surroundings:
        """All this host knows, with what others told: numbers with another name, and numbers in use."""
        namespace = self.namespace_of(key)
        vlans = self.vlans
        named = {**vlans.named_elsewhere(namespace), **named}
        records, members = self.shared.all(TAKEN, TakenRecord), self.roster.names()
        taken = {number for host in members if host in records for number in records[host].numbers}
        everybodys = vlans.everybodys
        alone = namespace == DEFAULT_NAMESPACE or not self.roster.others()
        start = everybodys.low if alone else spread_start(namespace, everybodys, named)
        unusable = {*vlans.unusable(), *taken, *busy, *vlans.own(namespace).values()}
        return Surroundings(named, unusable, vlans.ranges_elsewhere(namespace), everybodys, start)

    def own(self, key: str) -> dict[str, int]:
        """The names this host gave out by itself."""
        return self.vlans.own(self.namespace_of(key))

    def busy(self, key: str) -> set[int]:
        """The numbers this host knows to be in use, besides those with a name in this table."""
        namespace = self.namespace_of(key)
        vlans = self.vlans
        return {*vlans.unusable(), *vlans.named_elsewhere(namespace), *vlans.own(namespace).values()}

    async def tell_taken(self) -> None:
        """Let the others know which numbers are used here as they are."""
        record = TakenRecord(tuple(sorted(self.vlans.taken())))
        known = self.shared.get(TAKEN, self.roster.local, TakenRecord)
        if known != record and (known is not None or record.numbers):
            await self.shared.put(TAKEN, self.roster.local, record)
