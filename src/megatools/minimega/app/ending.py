"""How a daemon comes to its end, and who may ask for it.

quit, ^D, SIGINT ----> TEAR_DOWN   VMs are killed, all that was made is removed
SIGTERM, crash ------> LEAVE       VMs go on, to be adopted by the next daemon
nuke, nuke all ------> NUKE, NUKE_ALL
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum, auto

from megatools.hostkit.errors import MegaError


class Ending(Enum):
    """What becomes of the VMs and the base directory."""

    TEAR_DOWN = auto()
    LEAVE = auto()
    NUKE = auto()
    NUKE_ALL = auto()


class EndControl:
    """The daemon as commands see it: it can be told to end, and says when it has."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = settings
        self._asked: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, ending: Ending) -> None:
        """Ask for an end; the first one asked for counts."""
        if not self._asked.done():
            self._asked.set_result(ending)

    async def asked(self) -> Ending:
        """Wait until somebody asks."""
        return await asyncio.shield(self._asked)

    @property
    def ending(self) -> bool:
        """Whether an end was asked for."""
        return self._asked.done()

    def finished(self, error: MegaError | None) -> None:
        """Tell those who asked that all is gone, or what could not be removed."""
        if self._finished.done():
            return
        if error is None:
            self._finished.set_result(None)
        else:
            self._finished.set_exception(error)
            self._finished.exception()  # nobody may be waiting; the daemon logs it as well

    async def quit(self) -> None:
        """Tear down; returns when everything is gone."""
        self.ask(Ending.TEAR_DOWN)
        await asyncio.shield(self._finished)

    def quit_later(self, delay_s: float) -> None:
        """Tear down after a delay in seconds; a later call moves the moment."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.ask, Ending.TEAR_DOWN)

    async def nuke(self, *, everything: bool) -> None:
        """Remove all that belongs to this base directory; returns when it is gone."""
        self.ask(Ending.NUKE_ALL if everything else Ending.NUKE)
        await asyncio.shield(self._finished)

    def settings_text(self) -> Mapping[str, str]:
        """Every setting by name."""
        return self._settings
