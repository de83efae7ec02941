"""The engine for an event loop: a few threads, each with an engine (and a store) of its own; for this folder only."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from megatools.hostkit.errors import MegaError
from megatools.igor.api.engine import Engine, open_engine, work_off
from megatools.igor.api.governing import token_hash
from megatools.igor.api.people import person_of
from megatools.igor.api.requests import Answer, AnyRequest, GetHosts, GetProfiles, Power, Show, Stats, Tick
from megatools.igor.model.config import Config
from megatools.igor.model.person import Person

_log = logging.getLogger(__name__)
_QUIET = (Show, GetHosts, GetProfiles, Stats, Power, Tick)
T = TypeVar("T")


class Engines:
    """Asks the engine from the loop without blocking it."""

    def __init__(self, config: Config, threads: int) -> None:
        self.config = config
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="igor-web")
        self._working = ThreadPoolExecutor(1, thread_name_prefix="igor-work")

    async def run(self, work: Callable[[Engine], T]) -> T:
        """The result of some work with an engine, done in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: work(self._engine()))

    async def ask(self, person: Person, request: AnyRequest, files: Sequence[int] = ()) -> Answer:
        """The answer to a request; raises the kinds of hostkit.errors. Work that follows is done after it is given."""
        answer = await self.run(lambda engine: engine.ask(person, request, files))
        if not isinstance(request, _QUIET):
            self._working.submit(self._work_off)
        return answer

    async def person(self, secret: str) -> Person | None:
        """Whom a token stands for now, with the rights and groups they have now; None when it is not good."""
        if not secret:
            return None

        def looking(engine: Engine) -> Person | None:
            found = engine.store.token(token_hash(secret), engine.now_s())
            return person_of(found[0], engine.config) if found else None

        return await self.run(looking)

    def close(self) -> None:
        """Finish what is under way."""
        self._pool.shutdown()
        self._working.shutdown()

    def _work_off(self) -> None:
        """Hooks, power, switches and messages, after a change that asked for them."""
        engine = self._engine()
        try:
            for problem in work_off(engine.store, engine.config):
                _log.warning("%s", problem)
        except MegaError:
            _log.exception("work after a change failed")

    def _engine(self) -> Engine:
        engine: Engine | None = getattr(self._own, "engine", None)
        if engine is None:
            engine = self._own.engine = open_engine(self.config)
        return engine
