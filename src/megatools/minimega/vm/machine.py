"""One VM as a task that owns its state: requests and happenings come in through one queue, one at a time.

Made and kept by `fleet`; `launching` may touch it only while its task does not run, or from within it::

    ask(wish) --+
                +-- queue --> run: decide --> Instance --> state, journal, feed --> the asker's answer
    listener() -+
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias

from megatools.hostkit.errors import InvalidState, MegaError, NotFound, chain_text
from megatools.minimega.state.stamps import ZERO, Stamp
from megatools.minimega.vm.backend import AgentChanged, Ended, Happening, Instance, Listener, Resumed, Site, Suspended
from megatools.minimega.vm.lifecycle import ALIVE, Step, Verdict, VmState, Wish, decide
from megatools.minimega.vm.records import VmRecord

_log = logging.getLogger(__name__)
ERROR_TAG = "error"


class Hooks(Protocol):
    """What a VM needs of its surroundings."""

    async def save(self, machine: Machine) -> None:
        """Journal it as it is now; returns when that is durable."""
        ...

    def changed(self, machine: Machine) -> None:
        """It looks different now."""
        ...

    def died(self, machine: Machine) -> None:
        """Its process is gone; its taps are free."""
        ...

    async def relaunch(self, machine: Machine) -> None:
        """Launch it again, held. Raises a MegaError, leaving nothing of the attempt."""
        ...


@dataclass(frozen=True)
class _Asked:
    wish: Wish
    wild: bool
    done: asyncio.Future[bool]


@dataclass(frozen=True)
class _Look:
    """The processors were seen to start or stop: compare with the state."""


@dataclass(frozen=True)
class _Died:
    """A process ended; `life` says which, for a VM can be launched again before this is read."""

    life: int
    ended: Ended


_Item: TypeAlias = _Asked | _Look | _Died


class Machine:
    """One VM of this host."""

    def __init__(self, site: Site, hooks: Hooks) -> None:
        self.site = site
        self.state = VmState.BUILDING
        self.step = Step.LAUNCHING
        self.instance: Instance | None = None
        self.launched_at = 0.0
        self.first_launch = self.last_launch = ZERO
        self.tags: dict[str, str] = dict(site.plan.config.tags)
        self.written: dict[str, Stamp] = {}
        self.agent_connected = False
        self.started = False
        self._turning = False
        self._life = 0
        self._closed = False
        self._hooks = hooks
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()

    @property
    def id(self) -> int:
        """The number on this host."""
        return self.site.id

    @property
    def name(self) -> str:
        """The name in its namespace."""
        return self.site.plan.name

    @property
    def uuid(self) -> str:
        """The UUID."""
        return self.site.plan.uuid

    @property
    def namespace(self) -> str:
        """The namespace that owns it."""
        return self.site.plan.namespace

    @property
    def listed(self) -> bool:
        """Whether users see it: not before its launch has succeeded."""
        return self.step is not Step.LAUNCHING

    def record(self, *, launched: bool | None = None) -> VmRecord:
        """What the journal keeps of it; `launched` is told ahead when a launch is about to be acknowledged."""
        return VmRecord(
            id=self.site.id,
            backend=self.site.plan.kind.value,
            plan=self.site.plan,
            state=self.state,
            launched=self.listed if launched is None else launched,
            launched_at=self.launched_at,
            first_launch=self.first_launch,
            last_launch=self.last_launch,
            identity=self.instance.identity if self.instance is not None else None,
            taps=self.site.taps,
            tags=self.tags,
            written=self.written,
        )

    def restore(self, record: VmRecord) -> None:
        """Take what an earlier daemon wrote; its task does not run yet."""
        self.state = record.state
        self.step = Step.SETTLED
        self.launched_at = record.launched_at
        before = Stamp(int(record.launched_at * 1000), 0, "")  # of a daemon that had no stamps
        self.last_launch = record.last_launch if record.last_launch > ZERO else before
        self.first_launch = record.first_launch if record.first_launch > ZERO else self.last_launch
        self.tags = dict(record.tags)
        self.written = dict(record.written)
        self.started = record.state is not VmState.BUILDING

    def launched(self, instance: Instance, stamp: Stamp) -> None:
        """It has a process, held; it is shown once that is journaled (`settled`)."""
        self.instance = instance
        self.state = VmState.BUILDING
        self.started = False
        self.launched_at = time.time()
        self.last_launch = stamp
        if self.first_launch == ZERO:
            self.first_launch = stamp

    def settled(self) -> None:
        """Whatever was being done with it is done."""
        self.step = Step.SETTLED

    def without_taps(self) -> None:
        """Its taps have been given back."""
        self.site = replace(self.site, taps=())

    def listener(self) -> Listener:
        """Where the next process reports to; reports of earlier ones are ignored from now on."""
        self._life += 1
        self._turning = False
        return partial(self._hear, self._life)

    def _hear(self, life: int, happening: Happening) -> None:
        if life != self._life:
            return
        match happening:
            case Resumed() | Suspended():
                self._turning = isinstance(happening, Resumed)
                self._queue.put_nowait(_Look())
            case AgentChanged(connected):
                self.agent_connected = connected
                self._hooks.changed(self)
            case Ended():
                self._queue.put_nowait(_Died(life, happening))

    async def ask(self, wish: Wish, *, wild: bool) -> bool:
        """Ask for something and wait for its end; False when it was passed over.

        Raises InvalidState when its state does not allow it, and what went wrong otherwise.
        """
        if self._closed:
            raise NotFound(f"vm not found: {self.name}")
        verdict = decide(self.state, self.step, wish, wild=wild)
        if verdict is Verdict.SKIP:
            return False
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Asked(wish, wild, done))
        return await done

    async def run(self) -> None:
        """Own the state until cancelled: the VM was flushed, or the daemon ends."""
        try:
            while True:
                match await self._queue.get():
                    case _Asked() as asked:
                        await self._answer(asked)
                    case _Died(life, ended):
                        if life == self._life:
                            await self._unasked(self._ended(ended))
                    case _Look():
                        await self._unasked(self._look())
        finally:
            self.refuse_waiting()

    def refuse_waiting(self) -> None:
        """Answer whoever still waits, and whoever comes: the VM is no longer here."""
        self._closed = True
        while not self._queue.empty():
            item = self._queue.get_nowait()
            if isinstance(item, _Asked) and not item.done.done():
                item.done.set_exception(NotFound(f"vm not found: {self.name}"))

    async def _unasked(self, step: Coroutine[object, object, None]) -> None:
        """Something happened that nobody waits for: what the disk refuses does not end the VM's task."""
        try:
            await step
        except MegaError as error:
            _log.warning("%s", chain_text(error))

    async def _answer(self, asked: _Asked) -> None:
        try:
            done = await self._carry_out(asked.wish, wild=asked.wild)
        except MegaError as error:
            if not asked.done.done():
                asked.done.set_exception(error)
        except BaseException:
            asked.done.cancel()
            raise
        else:
            if not asked.done.done():
                asked.done.set_result(done)

    async def _carry_out(self, wish: Wish, *, wild: bool) -> bool:
        match decide(self.state, self.step, wish, wild=wild):
            case Verdict.SKIP:
                return False
            case Verdict.REFUSE | Verdict.WAIT:
                raise self._refusal(wish)
            case Verdict.RELAUNCH:
                await self._relaunch()
                await self._start()
            case Verdict.RUN if wish is Wish.START:
                await self._start()
            case Verdict.RUN if wish is Wish.STOP:
                await self._process().pause()
                self._turning = False
                await self._become(VmState.PAUSED)
            case Verdict.RUN if wish is Wish.KILL:
                await self._kill()
            case Verdict.RUN:
                self.step = Step.ENDING  # flushed: the fleet removes it and nothing else may be asked
        return True

    async def _start(self) -> None:
        first, self.started = not self.started, True
        try:
            await self._process().resume(first=first)
        except MegaError as error:
            if first:
                await self._process().end()
                await self._ended(Ended(clean=False, reason=chain_text(error)))
            raise
        self._turning = True
        await self._become(VmState.RUNNING)

    async def _kill(self) -> None:
        self.step = Step.ENDING
        try:
            await self._process().end()
        finally:
            self.step = Step.SETTLED
        await self._ended(Ended(clean=True))

    async def _relaunch(self) -> None:
        self.step = Step.RELAUNCHING
        self.tags.pop(ERROR_TAG, None)
        try:
            await self._hooks.relaunch(self)
        except MegaError as error:
            self.tags[ERROR_TAG] = chain_text(error)
            await self._become(VmState.ERROR)
            raise
        finally:
            self.step = Step.SETTLED

    async def _ended(self, ended: Ended) -> None:
        """Settle as dead, once: a kill and the process's own report may both arrive."""
        if self.instance is None:
            return
        self.instance = None
        self.agent_connected = False
        if not ended.clean:
            self.tags[ERROR_TAG] = ended.reason
        self.step = Step.SETTLED
        try:
            await self._become(VmState.QUIT if ended.clean else VmState.ERROR)
        finally:
            self._hooks.died(self)

    async def _look(self) -> None:
        if self.state not in ALIVE:
            return
        if self._turning and self.state is not VmState.RUNNING:
            await self._become(VmState.RUNNING)
        elif not self._turning and self.state is VmState.RUNNING:
            await self._become(VmState.PAUSED)

    async def _become(self, state: VmState) -> None:
        self.state = state
        try:
            await self._hooks.save(self)
        finally:
            self._hooks.changed(self)

    def _process(self) -> Instance:
        if self.instance is None:
            raise InvalidState(f"VM state error: {self.name}", hint="it has no process; see its tag error")
        return self.instance

    def _refusal(self, wish: Wish) -> MegaError:
        if wish is Wish.START:
            return InvalidState("vm is already running", hint=f'"{self.name}" is {self.state}')
        return InvalidState(f"VM state error: {self.name}", hint=f'it is {self.state}, which does not allow "{wish}"')
