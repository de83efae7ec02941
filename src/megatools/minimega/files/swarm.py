"""One content pulled from several peers at once, chunk by chunk, each checked as it comes. Used by `library`.

::

    sources (who has which chunks) --ask again now and then--> picks: a run of chunks nobody fetches yet
    run --Mesh.pull--> incoming file --digests--> right: had; wrong: fetched again elsewhere, the source counts a strike

Peers that are fetching the same content serve what they have already, so that many receivers share the work. A source
that breaks off is dropped, and comes back when it says again that it has something.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import InvalidState, MegaError, NotFound, Unavailable, chain_text
from megatools.minimega.files.incoming import Incoming

_log = logging.getLogger(__name__)
_WINDOW = 2  # pulls at once from one source
_LONGEST_RUN = 8  # chunks in one pull
_RUN_S = 0.25  # how long one pull should take about: short runs spread a content over many hosts soon
_SAMPLE = 32  # chunks looked at to find one that few have
_STRIKES = 3
_ASK_AGAIN_S = 0.3
PATIENCE_S = 30.0

# Which chunks of a content each node that answers has.
Holders: TypeAlias = Callable[[], Awaitable[Mapping[str, Collection[int]]]]


class Puller(Protocol):
    """The part of `Mesh` that moves bytes."""

    async def pull(self, target: str, name: str, offset: int, length: int, into: int) -> int:
        """Copy bytes of something a node shares to the same offset of an open file descriptor; returns how many."""
        ...


@dataclass
class _Source:
    name: str
    chunks: set[int]
    run: int = 1  # how many chunks it is asked for at once
    strikes: int = 0
    pulls: set[asyncio.Task[None]] = field(default_factory=set)


class Changed(InvalidState):
    """What the sources hold is not the content any more."""


class Swarm:
    """A transfer; `run` returns when the content is complete, else raises and leaves what it got."""

    def __init__(
        self,
        mesh: Puller,
        incoming: Incoming,
        name: str,
        holders: Holders,
        *,
        origin: str,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`name` is what peers share the content as, `origin` who promised it.

        `patience_s` is how long nobody may have a chunk that is missing while the origin does not answer.
        """
        self._mesh = mesh
        self._incoming = incoming
        self._name = name
        self._holders = holders
        self._origin = origin
        self._patience_s = patience_s
        self._sources: dict[str, _Source] = {}
        self._bad: set[str] = set()
        self._flying: set[int] = set()
        self._news = asyncio.Event()
        self._failure: MegaError | None = None
        self._random = random.Random()  # spreads receivers over chunks, guards nothing

    async def run(self) -> None:
        """Fetch what is missing. Raises Unavailable (nobody has it any more), Changed, or why the disk refused."""
        self._take({self._origin: range(self._incoming.manifest.count)})
        self._pick()
        asking = asyncio.create_task(self._ask_again())
        try:
            while not self._incoming.complete:
                if self._failure is not None:
                    raise self._failure
                if asking.done():
                    asking.result()
                self._news.clear()
                self._pick()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({news, asking}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
        finally:
            pulls = [task for source in self._sources.values() for task in source.pulls]
            for task in (asking, *pulls):
                task.cancel()
            await asyncio.gather(asking, *pulls, return_exceptions=True)

    async def _ask_again(self) -> None:
        """Keep knowing who has what. Raises Unavailable when nobody had anything of use for too long."""
        loop = asyncio.get_running_loop()
        useful = loop.time()
        while True:
            holders = await self._holders()
            self._take(holders)
            missing = self._missing()
            if self._flying or any(source.chunks & missing for source in self._sources.values()):
                useful = loop.time()
            elif self._origin in self._bad or not holders.get(self._origin, True):
                raise Changed(f'what "{self._origin}" has is not what it promised')
            elif loop.time() - useful > self._patience_s:
                raise Unavailable("nobody has the rest of it", hint="it goes on where it stopped when asked again")
            self._news.set()
            await asyncio.sleep(_ASK_AGAIN_S)

    def _take(self, holders: Mapping[str, Collection[int]]) -> None:
        for name, chunks in holders.items():
            if chunks and name not in self._bad:
                self._sources.setdefault(name, _Source(name, set())).chunks = set(chunks)
        for name, source in list(self._sources.items()):
            if not holders.get(name) and not source.pulls:
                del self._sources[name]

    def _missing(self) -> set[int]:
        return set(range(self._incoming.manifest.count)) - self._incoming.have - self._flying

    def _pick(self) -> None:
        """Give every source that has room a run of missing chunks."""
        missing = self._missing()
        sources = list(self._sources.values())
        self._random.shuffle(sources)
        for _ in range(_WINDOW):
            for source in sources:
                if len(source.pulls) < _WINDOW and (run := self._run_for(source, missing)):
                    missing -= set(run)
                    self._flying |= set(run)
                    task = asyncio.create_task(self._fetch(source, run))
                    source.pulls.add(task)
                    task.add_done_callback(source.pulls.discard)

    def _run_for(self, source: _Source, missing: Collection[int]) -> range:
        """Some chunks in a row: from one that the fewest have, as many as the source is quick enough for."""
        useful = source.chunks.intersection(missing)
        if not useful:
            return range(0)
        some = self._random.sample(list(useful), min(_SAMPLE, len(useful)))
        first = min(some, key=self._holders_of)
        share = -(-len(missing) // (_WINDOW * len(self._sources)))
        end = first + 1
        while end in useful and end - first < min(source.run, max(1, share)):
            end += 1
        return range(first, end)

    def _holders_of(self, chunk: int) -> int:
        return sum(chunk in source.chunks for source in self._sources.values())

    async def _fetch(self, source: _Source, run: range) -> None:
        offset, length = self._incoming.manifest.span(run.start, len(run))
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._mesh.pull(source.name, self._name, offset, length, self._incoming.descriptor)
            quick = loop.time() - began < _RUN_S
            source.run = min(_LONGEST_RUN, 2 * source.run) if quick else max(1, source.run // 2)
            right = await self._incoming.check(run)
            if len(right) < len(run):
                self._strike(source)
        except (Unavailable, NotFound) as error:
            _log.info("%s from %s: %s", self._name, source.name, chain_text(error))
            self._sources.pop(source.name, None)
        except MegaError as error:
            self._failure = error
        except OSError as error:
            self._failure = Unavailable("cannot write what arrives")
            self._failure.__cause__ = error
        finally:
            self._flying -= set(run)
            self._news.set()

    def _strike(self, source: _Source) -> None:
        source.strikes += 1
        if source.strikes >= _STRIKES:
            self._bad.add(source.name)
            self._sources.pop(source.name, None)
