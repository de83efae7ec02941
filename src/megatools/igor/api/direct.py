"""Direct mode: the caller may write the store, so no service is needed. The command line's first choice."""

from __future__ import annotations

import os
from collections.abc import Sequence

from megatools.igor.api.engine import Engine, open_engine, work_off
from megatools.igor.api.people import caller
from megatools.igor.api.requests import Answer, AnyRequest, GetHosts, GetProfiles, Power, Show, Stats, Tick
from megatools.igor.model.config import Config
from megatools.igor.model.person import Person
from megatools.igor.store.store import DATABASE


class DirectDoor:
    """The engine in this process, asked by whoever runs it."""

    def __init__(self, engine: Engine, person: Person) -> None:
        self.engine = engine
        self.person = person

    def ask(self, request: AnyRequest, files: Sequence[int] = ()) -> Answer:
        """See `doors.Door`."""
        answer = self.engine.ask(self.person, request, files)
        if not isinstance(request, _QUIET):
            work_off(self.engine.store, self.engine.config)
        return answer


_QUIET = (Show, GetHosts, GetProfiles, Stats, Power, Tick)


def may_write(config: Config) -> bool:
    """Whether the caller may write the store (by real uid: no setuid bit counts), or may make it."""
    state = config.state
    if os.access(state / DATABASE, os.F_OK):
        return os.access(state / DATABASE, os.W_OK) and os.access(state, os.W_OK | os.X_OK)
    while not os.access(state, os.F_OK) and state != state.parent:
        state = state.parent
    return os.access(state, os.W_OK | os.X_OK)


def open_door(config: Config) -> DirectDoor:
    """Open the store for whoever runs this process; raises as `open_engine`."""
    return DirectDoor(open_engine(config), caller(config))
