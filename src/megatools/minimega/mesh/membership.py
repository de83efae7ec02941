"""Who is in the mesh, from signs of life: pure.

`mesh.clique` feeds it tokens and links. A name that several engines claim belongs to none of them (`doubled`); a
token whose name is not the one its certificate proves, or whose certificate counts no more, and nodes kept away from,
are not members.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from msgspec.structs import replace

from megatools.minimega.mesh.identity import is_common_name_of
from megatools.minimega.mesh.mesh import Member, MemberEvent


class Membership:
    """The other nodes, as one node sees them."""

    def __init__(self, own: str, *, must_prove: bool = False) -> None:
        self._own = own
        self.must_prove = must_prove
        """An engine counts only once a connection has proved its name."""
        self._tokens: dict[str, Member] = {}  # by the engine's id
        self._proven: dict[str, str] = {}  # the common name an engine proved, by its id
        self._hidden: Collection[str] = frozenset()  # names, and ids
        self._denied: frozenset[str] = frozenset()  # common names
        self._shown: dict[str, Member] = {}
        self._listed: Sequence[Member] = ()

    def members(self) -> Sequence[Member]:
        """Those there now, by name; the same object for as long as nobody comes or goes."""
        return self._listed

    def get(self, name: str) -> Sequence[Member]:
        """The members of this name: none, one, or several."""
        return [member for member in self._shown.values() if member.name == name]

    def name_of(self, identity: str) -> str:
        """The name of an engine, or an empty string."""
        member = self._shown.get(identity)
        return member.name if member else ""

    def came(self, member: Member) -> Sequence[MemberEvent]:
        """A sign of life came."""
        self._tokens[member.id] = member
        return self._changes()

    def went(self, identity: str) -> Sequence[MemberEvent]:
        """A sign of life went."""
        self._tokens.pop(identity, None)
        return self._changes()

    def proved(self, identity: str, common_name: str) -> Sequence[MemberEvent]:
        """A connection proved who an engine belongs to."""
        self._proven[identity] = common_name
        return self._changes()

    def hide(self, names: Collection[str], identities: Collection[str] = ()) -> Sequence[MemberEvent]:
        """From now on nodes of these names, and engines with these ids, are no members."""
        self._hidden = frozenset((*names, *identities))
        return self._changes()

    def deny(self, common_names: Collection[str]) -> Sequence[MemberEvent]:
        """From now on engines that proved one of these names are no members."""
        self._denied = frozenset(common_names)
        return self._changes()

    def all_called(self, name: str) -> Sequence[Member]:
        """Everybody who claims a name, members or not."""
        return [member for member in self._tokens.values() if member.name == name]

    def behind(self, identity: str) -> Member | None:
        """Who has the engine with this id, member or not."""
        return self._tokens.get(identity)

    def clear(self) -> Sequence[MemberEvent]:
        """Nobody is there any more."""
        self._tokens.clear()
        self._proven.clear()
        return self._changes()

    def _changes(self) -> Sequence[MemberEvent]:
        shown = self._believed()
        left = [MemberEvent(old, joined=False) for key, old in self._shown.items() if shown.get(key) != old]
        joined = [MemberEvent(new, joined=True) for key, new in shown.items() if self._shown.get(key) != new]
        if left or joined:
            self._shown = shown
            self._listed = tuple(sorted(shown.values(), key=lambda member: (member.name, member.id)))
        return left + joined

    def _believed(self) -> dict[str, Member]:
        believed = [member for member in self._tokens.values() if self._counts(member)]
        count: dict[str, int] = {self._own: 1}
        for member in believed:
            count[member.name] = count.get(member.name, 0) + 1
        return {
            member.id: replace(
                member,
                doubled=count[member.name] > 1,
                certificate=self._proven[member.id] if self.must_prove else "",
            )
            for member in believed
        }

    def _counts(self, member: Member) -> bool:
        if member.name in self._hidden or member.id in self._hidden:
            return False
        common_name = self._proven.get(member.id)
        if common_name is None:
            return not self.must_prove
        return common_name not in self._denied and is_common_name_of(common_name, member.name)
