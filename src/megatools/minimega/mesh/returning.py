"""Who is back of those that were there before, and who is still missed: pure. Used by `revocation`.

Nodes that went within some seconds went together: in a partition, or because we were down. When one of them is back,
the others may know something about it that we do not. Times are seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

TOGETHER_S = 10.0  # a hung node is missed seconds after one that ended
_FORGET_S = 86400.0


class Returning:
    """The members as they come and go; those that are revoked are not waited for."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # of those here, by id
        self._joined: dict[str, float] = {}  # when they came, by id
        self._answered: set[str] = set()  # ids of those that told what they know
        self._lost: dict[str, float] = {}  # names of those that are not here: when they went
        self._missing: set[str] = set()

    def begin(self, names: Iterable[str], now_s: float) -> None:
        """These were here when this node ran last: it went from all of them at once."""
        self._missing = set(names)
        self._lost = dict.fromkeys(self._missing, now_s)

    @property
    def worth_keeping(self) -> set[str]:
        """The names that the next daemon must know: of those here, and of those that were not seen since the start."""
        return {*self._names.values(), *self._missing}

    def came(self, identity: str, name: str, now_s: float) -> float:
        """A node is here; returns when it had gone (now, if it was never here)."""
        self._names[identity] = name
        self._joined[identity] = now_s
        self._missing.discard(name)
        return self._lost.pop(name, now_s)

    def came_s(self, identity: str) -> float:
        """When one that is here came."""
        return self._joined[identity]

    def told(self, identity: str) -> None:
        """One that is here told what it knows."""
        self._answered.add(identity)

    def has_told(self, identity: str) -> bool:
        """Whether one has told what it knows."""
        return identity in self._answered

    def went(self, identity: str, now_s: float) -> bool:
        """A node is gone; whether it was here."""
        name = self._names.pop(identity, None)
        if name is None:
            return False
        self._lost[name] = now_s
        self._answered.discard(identity)
        del self._joined[identity]
        return True

    def give_up(self, name: str) -> None:
        """A node will not come back."""
        self._missing.discard(name)
        self._lost.pop(name, None)

    def awaited(self, went_s: float, now_s: float, revoked: Collection[str]) -> set[str]:
        """Who is missing that went together with a node that went then, or after it."""
        self._lost = {name: lost_s for name, lost_s in self._lost.items() if now_s - lost_s < _FORGET_S}
        together = {name for name, lost_s in self._lost.items() if lost_s >= went_s - TOGETHER_S}
        return together - {*revoked} - {*self._names.values()}

    def is_alone_with(self, node: str, went_s: float, now_s: float, revoked: Collection[str]) -> bool:
        """Whether it was we who were away, and not some others, and nobody but this node is back and has told."""
        awaited = self.awaited(went_s, now_s, revoked)
        back = {
            identity: name for identity, name in self._names.items() if self._joined[identity] >= went_s - TOGETHER_S
        }
        stayed = len(self._names) - len(back)
        if not awaited or 1 + stayed >= len(back) + len(awaited):
            return False
        return not any(identity in self._answered for identity, name in back.items() if name not in {node, *revoked})
