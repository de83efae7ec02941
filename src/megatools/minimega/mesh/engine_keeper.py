"""Keeps one engine process running: started when this host has an address, and again when it ends or must change.

Used by `mesh.clique`. What makes it start another one: the process ended; it does not answer itself (`_test`: its
inside can break while the process lives); this host's address changed (Zenoh looks at the interfaces once per process);
certificates changed, or more of them count no more; a client lost its hub (Zenoh scouts for one only once).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from megatools.hostkit import routes
from megatools.hostkit.errors import MegaError, NotFound, chain_text
from megatools.minimega.mesh import frames
from megatools.minimega.mesh.engine_config import EngineSettings, engine_config
from megatools.minimega.mesh.engine_process import EngineProcess
from megatools.minimega.mesh.plan import SIDE_PORT, MeshPlan
from megatools.minimega.mesh.scouting import Scouting, key_prefix, scouting, with_port
from megatools.minimega.mesh.standing import Standing

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_HEALTHY_S = 30.0
_QUIET_S = 1.0  # a command may be several calls, one after another
_EAGER_S = 60.0
_TEST_EVERY_S, _TEST_S = 10.0, 5.0
_STRIKES = 3
_HUBLESS_S = 2.0


class Owner(Protocol):
    """What the keeper tells and asks the mesh it works for."""

    def hear(self, frame: frames.FromEngine) -> None:
        """The engine said something."""
        ...

    async def begin(self, standing: Standing, host: str) -> None:
        """An engine is about to start for this standing, on this address (empty: none will). Raises Unavailable."""
        ...

    def down(self) -> None:
        """The engine is gone."""
        ...

    def busy(self) -> bool:
        """Whether calls run that a new engine would lose, and that would be missed."""
        ...

    def linked(self) -> bool:
        """Whether there is a connection to anybody."""
        ...

    def peers(self) -> Sequence[str]:
        """The names of the others."""
        ...


class EngineKeeper:
    """The engine there is now, if any."""

    def __init__(self, plan: MeshPlan, owner: Owner) -> None:
        self._plan = plan
        self._owner = owner
        self._engine: EngineProcess | None = None
        self._prepared = plan.prepared
        self._announced = False
        self._closed = False
        self._address = ""
        self._linked_s = 0.0  # when there was a connection last
        self._wake = asyncio.Event()
        self.settings: EngineSettings | None = None
        self.standing = Standing("off")
        self.trouble = "starting"
        plan.standings.listen(self._wake.set)

    def send(self, frame: frames.ToEngine) -> None:
        """Tell the engine something; nothing happens without one."""
        if self._engine is not None:
            self._engine.send(frame)

    async def outcome(self, make: Callable[[int], frames.ToEngine], *, timeout_s: float) -> frames.Outcome:
        """Tell the engine something that has an outcome."""
        if self._engine is None:
            return frames.Outcome(0, f"the mesh is not up: {self.trouble}")
        return await self._engine.outcome(make, timeout_s=timeout_s)

    def announce(self) -> None:
        """From now on this node is a member."""
        self._announced = True
        self.send(frames.Join())

    async def keep(self) -> None:
        """Keep an engine running until cancelled."""
        pause_s = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._closed:
            started = loop.time()
            try:
                self._complain(await self._live())
            except* (MegaError, OSError) as error:  # of the tasks that watch it too
                self._complain(chain_text(error))
            if loop.time() - started > _HEALTHY_S or self.standing.security == "off":
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """End the engine, for good."""
        self._closed = True
        if self._engine is not None:
            await self._engine.end()
        await self._discard()

    async def _discard(self) -> None:
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.discard()

    async def _live(self) -> str:
        """One engine from start to end, and why it ended; or the time without one."""
        standing = self.standing = self._plan.standings.now()
        if standing.security == "off":
            self.settings, self.trouble = None, standing.detail
            await self._discard()
            await self._owner.begin(standing, "")
            await self._until(lambda: self._plan.standings.now() != standing)
            return ""
        settings = self.settings = await self._settled()
        host = settings.listen.rpartition(":")[0]
        await self._owner.begin(standing, host.strip("[]"))
        prepared, self._prepared = self._prepared, None
        engine = self._engine = EngineProcess(self._owner.hear, self._wake.set, prepared)
        try:
            await engine.start(self._first(standing, settings))
            self.trouble = ""
            self._linked_s = asyncio.get_running_loop().time()
            if self._announced:
                engine.send(frames.Join())
            return await self._watched(engine, settings)
        finally:
            self._engine = None
            self._owner.down()
            await engine.end()

    def _first(self, standing: Standing, settings: EngineSettings) -> frames.Open:
        plan = self._plan
        host = settings.listen.rpartition(":")[0]
        side = with_port(host, plan.port + SIDE_PORT)
        prefix = key_prefix(plan.context, standing.cluster)
        return frames.Open(engine_config(settings), prefix, plan.name, side, standing.denied)

    async def _watched(self, engine: EngineProcess, settings: EngineSettings) -> str:
        """Wait until the engine must be started again; returns why."""
        async with asyncio.TaskGroup() as group:
            test = group.create_task(self._test(engine))
            try:
                await self._until(lambda: self._is_over(engine, settings))
                if engine.ended.is_set():
                    return "the mesh engine ended by itself; it is started again"
                now = self._plan.standings.now()
                if self._is_but_denied(now):
                    await self._deny(engine, now)
                if now == self.standing and self._settings() == settings:
                    return "the hub was lost; looking for another one"
                return "" if now != self.standing else "this host's address changed; the engine is started again"
            finally:
                test.cancel()

    def _is_over(self, engine: EngineProcess, settings: EngineSettings) -> bool:
        now = asyncio.get_running_loop().time()
        if self._plan.role != "client" or self._owner.linked():
            self._linked_s = now
        changed = self._plan.standings.now() != self.standing or self._settings() != settings
        return engine.ended.is_set() or changed or now - self._linked_s > _HUBLESS_S

    def _is_but_denied(self, now: Standing) -> bool:
        return dataclasses.replace(now, denied=self.standing.denied) == self.standing != now

    async def _deny(self, engine: EngineProcess, now: Standing) -> None:
        """Cut off those whose certificates count no more, and return when an engine may start that never takes them.

        This one cuts them again each time they come. So it stays as long as there are calls, which must not fail for
        this: a quiet moment is waited for, at first one of some length, in the end any, and for as long as it takes.
        """
        loop = asyncio.get_running_loop()
        began = last_busy = loop.time()
        engine.send(frames.Deny(now.denied))

        def may_end() -> bool:
            nonlocal now, last_busy
            latest = self._plan.standings.now()
            if engine.ended.is_set() or not self._is_but_denied(latest):
                return True
            if latest != now:
                now = latest
                engine.send(frames.Deny(now.denied))
            if self._owner.busy():
                last_busy = loop.time()
                return False
            return loop.time() - last_busy > _QUIET_S or loop.time() - began > _EAGER_S

        await self._until(may_end, every_s=0.1)

    async def _until(self, condition: Callable[[], bool], every_s: float = _LOOK_S) -> None:
        while not condition():
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every_s):
                    await self._wake.wait()

    async def _test(self, engine: EngineProcess) -> None:
        """See again and again whether the engine answers itself and others; end the process when it does not."""
        strikes = 0
        while True:
            await asyncio.sleep(_TEST_EVERY_S)
            if await self._fails(engine, self._plan.name):
                trouble = "the mesh engine does not answer itself"
                break
            peers = self._owner.peers()
            asked = random.sample(peers, min(2, len(peers)))
            failures = [await self._fails(engine, peer) for peer in asked]
            strikes = strikes + 1 if failures and all(failures) else 0
            if strikes == _STRIKES:
                trouble = "the mesh engine reaches no other"
                break
        _log.warning("mesh: %s; it is started again", trouble)
        engine.kill()

    async def _fails(self, engine: EngineProcess, node: str) -> bool:
        def probe(ticket: int) -> frames.ToEngine:
            return frames.Probe(ticket, node, _TEST_S)

        return bool((await engine.outcome(probe, timeout_s=2 * _TEST_S)).error)

    async def _settled(self) -> EngineSettings:
        """What the engine is to be told, once this host has an address."""
        while (settings := self._settings()) is None:
            self._complain("this host has no address yet")
            await asyncio.sleep(_LOOK_S)
        return settings

    def _settings(self) -> EngineSettings | None:
        plan, standing = self._plan, self.standing
        for address in (self._address, plan.own_address()):  # one that is still ours is good enough
            with contextlib.suppress(NotFound):
                interface = routes.interface_of(address)
                self._address = address
                listen = with_port(address, plan.port)
                found = scouting(plan.broadcast, plan.port, plan.context, standing.cluster)
                seeds = tuple(seed for seed in found.seeds if seed != listen)
                where = Scouting(found.group, seeds)
                return EngineSettings(
                    plan.role, listen, interface, where, plan.lease_s, standing.certificates, standing.denied
                )
        return None

    def _complain(self, trouble: str) -> None:
        if trouble and trouble != self.trouble and not self._closed:
            _log.warning("mesh: %s", trouble)
        self.trouble = trouble
