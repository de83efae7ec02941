"""The asking end of calls: what has come back, and one end for each target, whatever the engine does. Pure.

`mesh.clique` feeds it replies (in any order, perhaps doubled), the engine's word that nothing more comes, members that
went, and the deadline. Diagram of one target::

    waiting --reply with end--> done | error
            --went, or nothing more comes--> lost
            --deadline--> timed out
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from megatools.minimega.mesh import wire
from megatools.minimega.mesh.mesh import Arrival, Ending, Member

MAX_WAITING = 1 << 26
"""Bytes of answers that may wait for a slow reader of one call, before its targets end with an error."""


HERE = "here"
"""Stands for the engine's id of this node, whose part of a call needs no engine."""


class _Target:
    """One node that was asked."""

    def __init__(self, identity: str) -> None:
        self.id = identity
        self.next = 0
        self.early: dict[int, wire.Reply] = {}


class Call:
    """A call that runs; `take` yields what came until every target has ended."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        """`targets`: the engine's id by node name, `HERE` for this node; those ended already are not among them."""
        self.targets = dict(targets)
        self._waiting = {name: _Target(identity) for name, identity in targets.items()}
        self._names = {identity: name for name, identity in targets.items()}
        self.renewed = False
        """Whether it is begun again when it breaks off, so that nothing is lost then."""
        self._queue: asyncio.Queue[Arrival] = asyncio.Queue()
        self._bytes = 0

    @property
    def waiting(self) -> tuple[str, ...]:
        """The targets that have not ended."""
        return tuple(self._waiting)

    @property
    def far(self) -> dict[str, str]:
        """The engines' ids of other nodes that have not ended, by name."""
        return {name: target.id for name, target in self._waiting.items() if target.id != HERE}

    @property
    def over(self) -> bool:
        """Whether all targets have ended and all that came was taken."""
        return not self._waiting and self._queue.empty()

    async def take(self) -> Arrival:
        """The next that came."""
        arrival = await self._queue.get()
        self._bytes -= len(arrival.payload)
        return arrival

    def end(self, name: str, ending: Ending, error: str = "", hint: str = "", kind: str = "") -> None:
        """A target ended; the first end counts."""
        if self._waiting.pop(name, None) is None:
            return
        self._queue.put_nowait(Arrival(name, ending=ending, error=error, hint=hint, kind=kind))

    def refuse(self, end: Arrival) -> None:
        """A target that was not asked ends."""
        self._queue.put_nowait(end)

    def part(self, name: str, payload: bytes) -> None:
        """A part of a target's answer came."""
        if name not in self._waiting:
            return
        self._bytes += len(payload)
        self._queue.put_nowait(Arrival(name, payload))

    def replied(self, identity: str, reply: wire.Reply) -> None:
        """A reply came from an engine; out of order it waits for its turn, twice it is dropped."""
        name = self._names.get(identity, "")
        target = self._waiting.get(name)
        if target is None or reply.number < target.next:
            return
        target.early[reply.number] = reply
        while (turn := target.early.pop(target.next, None)) is not None:
            target.next += 1
            for payload in turn.parts:
                self.part(name, payload)
            if turn.end is not None:
                ending = Ending.ERROR if turn.end.failed else Ending.DONE
                self.end(name, ending, turn.end.error, turn.end.hint, turn.end.kind)
                return
        if self._bytes > MAX_WAITING:
            self.end(name, Ending.ERROR, f"the answer is over {MAX_WAITING >> 20} MiB ahead of its reader")

    def finished(self, name: str) -> None:
        """Nothing more comes from a target (empty: from none of the others)."""
        for one in [name] if name else self.far:
            if one in self._waiting:
                self.end(one, Ending.LOST, f'node "{one}" was lost before it had answered')

    def went(self, identity: str) -> None:
        """An engine is gone."""
        name = self._names.get(identity, "")
        if name in self._waiting and self._waiting[name].id == identity:
            self.end(name, Ending.LOST, f'node "{name}" was lost')

    def expire(self, timeout_s: float) -> None:
        """The deadline is over."""
        for name in list(self._waiting):
            self.end(name, Ending.TIMED_OUT, f"no answer within {timeout_s:g} s")

    def abandon(self, error: str) -> None:
        """The engine is gone: nothing comes from others."""
        for name in self.far:
            self.end(name, Ending.LOST, error)


def absent(name: str) -> Arrival:
    """The end of a target that is no member."""
    return Arrival(name, ending=Ending.LOST, error=f'node "{name}" is not in the mesh')


def doubled(found: Sequence[Member]) -> Arrival:
    """The end of a target whose name several nodes claim."""
    name, where = found[0].name, ", ".join(member.address or member.id for member in found)
    return Arrival(
        name,
        ending=Ending.ERROR,
        error=f'several nodes are named "{name}"',
        hint=f"give each its own name: {where}",
        kind="InvalidState",
    )
