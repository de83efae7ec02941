"""Keeps one engine process running: started when this host has an address, and again when it ends or must change.

Used by `mesh.clique`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from megatools.hostkit import routes
from megatools.hostkit.errors import MegaError, NotFound, chain_text
from megatools.minimega.mesh import frames
from megatools.minimega.mesh.engine_config import EngineSettings, engine_config
from megatools.minimega.mesh.engine_process import EngineProcess
from megatools.minimega.mesh.plan import SIDE_PORT, MeshPlan
from megatools.minimega.mesh.scouting import with_port

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_HEALTHY_S = 30.0


class EngineKeeper:
    """The engine there is now, if any."""

    def __init__(self, plan: MeshPlan, hear: Callable[[frames.FromEngine], None], down: Callable[[], None]) -> None:
        self._plan = plan
        self._hear = hear
        self._down = down
        self._engine: EngineProcess | None = None
        self._announced = False
        self._closed = False
        self._address = ""
        self.settings: EngineSettings | None = None
        self.trouble = "starting"

    def send(self, frame: frames.ToEngine) -> None:
        """Tell the engine something; nothing happens without one."""
        if self._engine is not None:
            self._engine.send(frame)

    async def outcome(self, make: Callable[[int], frames.ToEngine], *, timeout_s: float) -> str:
        """Tell the engine something that has an outcome: an error, or an empty string."""
        if self._engine is None:
            return f"the mesh is not up: {self.trouble}"
        return await self._engine.outcome(make, timeout_s=timeout_s)

    def announce(self) -> None:
        """From now on this node is a member."""
        self._announced = True
        if self._engine is not None:
            self._engine.send(frames.Join())

    async def keep(self) -> None:
        """Keep an engine running until cancelled."""
        pause_s = _FIRST_PAUSE_S
        loop = asyncio.get_running_loop()
        while not self._closed:
            started = loop.time()
            try:
                await self._live()
            except MegaError as error:
                self._complain(chain_text(error))
            if loop.time() - started > _HEALTHY_S:
                pause_s = _FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """End the engine, for good."""
        self._closed = True
        if self._engine is not None:
            await self._engine.end()

    async def _live(self) -> None:
        """One engine from start to end."""
        settings = self.settings = await self._settled()
        plan = self._plan
        host = settings.listen.rpartition(":")[0]
        side = with_port(host, plan.port + SIDE_PORT)
        engine = self._engine = EngineProcess(self._hear)
        try:
            await engine.start(frames.Open(engine_config(settings), plan.prefix, plan.name, side))
            self.trouble = ""
            if self._announced:
                engine.send(frames.Join())
            await self._watch(engine, settings)
        finally:
            self._engine = None
            self._down()
            await engine.end()

    async def _watch(self, engine: EngineProcess, settings: EngineSettings) -> None:
        """Return when the engine must be started again."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await engine.ended.wait()
            except TimeoutError:
                pass
            if engine.ended.is_set():
                self._complain("the mesh engine ended by itself; it is started again")
                return
            if self._settings() != settings:
                self._complain("this host's address changed; the mesh engine is started again")
                return

    async def _settled(self) -> EngineSettings:
        """What the engine is to be told, once this host has an address."""
        while (settings := self._settings()) is None:
            self._complain("this host has no address yet")
            await asyncio.sleep(_LOOK_S)
        return settings

    def _settings(self) -> EngineSettings | None:
        for address in (self._address, self._plan.own_address()):  # one that is still ours is good enough
            with contextlib.suppress(NotFound):
                interface = routes.interface_of(address)
                self._address = address
                return EngineSettings(
                    listen=with_port(address, self._plan.port),
                    interface=interface,
                    scouting=self._plan.scouting,
                    lease_s=self._plan.lease_s,
                    certificates=self._plan.certificates(),
                )
        return None

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble and not self._closed:
            _log.warning("mesh: %s", trouble)
        self.trouble = trouble
