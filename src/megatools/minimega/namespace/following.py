r"""What this host does when the nodes agreed on something new about a namespace, or when it comes back to them.

::

    the namespace exists      this host's part is of an ended incarnation   -> destroy that part
                              this host has VMs of it and is not among its  -> join it (`Membership.claim`)
                              hosts
    it was destroyed          this host's part is of an ended incarnation,  -> destroy it
                              or of none
                              this host's part was made independently       -> bring it back, with this host

Started by `app` after recovery; what could not be destroyed is tried again later.
"""

from __future__ import annotations

import asyncio
import logging

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.lang.call import DEFAULT_NAMESPACE
from megatools.minimega.namespace.membership import KIND
from megatools.minimega.namespace.namespaces import Namespaces

_log = logging.getLogger(__name__)
_AGAIN_S = 30.0


class Follower:
    """Brings this host's part of each namespace in line with what is agreed on."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._membership = namespaces.membership
        self._waiting: dict[str, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Look at every namespace once, then at each that changes, until cancelled."""
        self._membership.shared.watch(KIND, self._notice)
        for name in self._namespaces.names():
            self._notice(name)
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._follow(next(iter(self._waiting)))

    def _notice(self, name: str) -> None:
        self._waiting[name] = None
        self._wake.set()

    async def _follow(self, name: str) -> None:
        self._waiting.pop(name, None)
        if name == DEFAULT_NAMESPACE or not self._namespaces.has_part(name):
            return
        try:
            await self.follow(name)
        except MegaError as error:
            _log.warning('namespace "%s": %s; tried again in %g s', name, chain_text(error), _AGAIN_S)
            asyncio.get_running_loop().call_later(_AGAIN_S, self._notice, name)

    async def follow(self, name: str) -> None:
        """Bring this host's part of one namespace in line. Raises what went wrong."""
        agreed = self._membership.record(name)
        mine = self._namespaces.get(name).record.incarnation
        ended = agreed is not None and (mine in agreed.ended or (not mine and not agreed.incarnation))
        if ended:
            _log.info('namespace "%s" was destroyed: its VMs on this host end', name)
            await self._namespaces.destroy(name)
        elif agreed is None or not agreed.incarnation or self._namespaces.inhabited(name):
            await self._membership.claim(name, mine)
        if agreed is not None and agreed.incarnation and agreed.incarnation != mine and not ended:
            await self._namespaces.adopt(name, agreed.incarnation)
