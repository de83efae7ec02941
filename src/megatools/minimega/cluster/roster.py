"""The known members of the cluster, reachable or not: who is asked when a majority is needed.

Used by `cluster.authority` and the commands of the cluster. A host enters itself once it has met the others, and stays
until it leaves (`quit`) or is given up (`cluster forget`, `cluster revoke`). Shared records of kind `member`, one per
life of a host's journal: a host that comes back with another journal has lost its memory, which matters to whoever
counted on it (`cluster.quorum`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from megatools.hostkit.errors import InvalidInput, NotFound
from megatools.hostkit.ranges import by_number, compress
from megatools.minimega.state.shared import Entry, Shared
from megatools.minimega.state.stamps import Stamp

KIND = "member"
_LIFE_MS = 24 * 3_600_000


class MemberRecord(msgspec.Struct, frozen=True):
    """Shared kind `member`, id `HOST/JOURNAL`."""


class Roster:
    """The members as this host knows them; `id` is that of its journal."""

    def __init__(self, shared: Shared, local: str, id: str) -> None:
        self._shared = shared
        self.local = local
        self.id = id
        self._has_left = False

    def names(self) -> Sequence[str]:
        """All members, in order; this host is always one."""
        return sorted({self.local, *self._lives()}, key=by_number)

    def others(self) -> Sequence[str]:
        """All members but this host."""
        return [name for name in self.names() if name != self.local]

    def first_ids(self) -> Mapping[str, str]:
        """The journal each member began with; of lives that ended more than a day ago all is known by now."""
        return {
            name: min(lives, key=lambda entry: entry.stamp).id.partition("/")[2]
            for name, lives in self._lives().items()
        }

    def ids(self) -> Mapping[str, str]:
        """The journal each member has now."""
        return {name: _journal(max(lives, key=_stamp)) for name, lives in self._lives().items()}

    def gone(self) -> frozenset[str]:
        """Hosts that were members and are no longer."""
        known = {entry.id.partition("/")[0] for entry in self._shared.entries(KIND)}
        return frozenset(known.difference(self.names()))

    async def enlist(self) -> None:
        """Enter this host, unless it has left, and forget its lives that ended long ago."""
        if self._has_left:
            return
        mine = self._lives().get(self.local, [])
        old = self._shared.clock.now_ms() - _LIFE_MS
        changes: dict[str, MemberRecord | None] = {
            entry.id: None for entry in mine if entry.stamp.time_ms < old and entry.id != self._own
        }
        if all(entry.id != self._own for entry in mine):
            changes[self._own] = MemberRecord()
        if changes:
            await self._shared.put_all(KIND, changes)

    def entries(self) -> Sequence[Entry]:
        """What is known of this host's lives, for the others."""
        return [entry for entry in self._shared.entries(KIND) if entry.id.partition("/")[0] == self.local]

    async def leave(self) -> None:
        """Strike this host off, for as long as this daemon lives."""
        self._has_left = True
        await self._strike(self.local)

    async def forget(self, name: str) -> None:
        """Give a host up: it is no longer waited for. Raises InvalidInput, NotFound."""
        if name == self.local:
            raise InvalidInput(f'"{name}" is this host', hint="ask another node to forget it, or `quit`")
        if name not in self._lives():
            raise NotFound(f'"{name}" is no member of the cluster', hint=f"members are {compress(self.names())}")
        await self._strike(name)

    @property
    def _own(self) -> str:
        return f"{self.local}/{self.id}"

    def _lives(self) -> dict[str, list[Entry]]:
        lives: dict[str, list[Entry]] = {}
        for entry in self._shared.entries(KIND):
            if not entry.removed:
                lives.setdefault(entry.id.partition("/")[0], []).append(entry)
        return lives

    async def _strike(self, name: str) -> None:
        lives = self._lives().get(name, [])
        await self._shared.put_all(KIND, dict.fromkeys(entry.id for entry in lives))


def _stamp(entry: Entry) -> Stamp:
    return entry.stamp


def _journal(entry: Entry) -> str:
    return entry.id.partition("/")[2]
