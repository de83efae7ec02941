r"""VMs given up while their host could not be asked: they end wherever they turn up, for they may run elsewhere by now.

A launch whose host was lost leaves a fence for each of its VMs (shared records of kind `fence`, by UUID) before the VM
is planned anew. The host takes notice when it learns of the fence, however late::

    lost launch --> fence (shared) --replicated--> host: the VM runs, or ran      -> killed and forgotten
                                                   the VM is being launched       -> the same, once that has ended
                                                   a request for it comes late    -> refused

The host removes a fence of its own when it is `KEPT_S` old: no request can be that late. Those of hosts that are no
members any more (they quit, were revoked or forgotten) are removed by whoever sees them, at the same age.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.state.shared import Shared
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.lifecycle import ALIVE
from megatools.minimega.vm.plan import VmPlan

_log = logging.getLogger(__name__)
KIND = "fence"
KEPT_S = 24 * 3600.0
_SWEEP_S = 3600.0


class Fence(msgspec.Struct, frozen=True):
    """A VM that must not live on: who it was, the host it was sent to, and when it was given up (since the epoch)."""

    namespace: str
    name: str
    host: str
    given_up: float


class Fences:
    """All fences, and this host's obedience to them."""

    def __init__(self, shared: Shared, fleet: Fleet, local: str, members: Callable[[], Collection[str]]) -> None:
        """`members` are the hosts that may come back, this one among them."""
        self._shared = shared
        self._fleet = fleet
        self._local = local
        self._members = members
        self._now = time.time
        self._wake = asyncio.Event()
        self._obeying = asyncio.Lock()
        shared.watch(KIND, lambda _: self._wake.set())

    async def put(self, host: str, plans: Sequence[VmPlan]) -> None:
        """Give up VMs that were sent to a host that was lost; returns once that is journaled."""
        now = self._now()
        fences = {plan.uuid: Fence(plan.namespace, plan.name, host, now) for plan in plans}
        await self._shared.put_all(KIND, fences)

    def fenced(self, uuids: Iterable[str]) -> set[str]:
        """Those of these VMs that were given up."""
        return {uuid for uuid in uuids if self._is_fenced(uuid)}

    def _is_fenced(self, uuid: str) -> bool:
        entry = self._shared.entry(KIND, uuid)
        return entry is not None and not entry.removed

    # ---- obey

    async def run(self) -> None:
        """End what is fenced here, now and whenever a fence comes, and sweep old ones; until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.obey()
                await self._sweep()
            except MegaError as error:
                _log.warning("fenced VMs: %s; tried again later", chain_text(error))
            try:
                async with asyncio.timeout(_SWEEP_S):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def obey(self, namespace: str = "", given_up: Sequence[str] = ()) -> None:
        """Kill and forget the VMs of this host that are fenced. Raises what went wrong.

        `given_up` are VMs of a namespace that another host knows to be fenced: that may not have come here yet.
        """
        async with self._obeying:
            for machine in self._fleet.machines():
                told = machine.namespace == namespace and machine.uuid in given_up
                if told or self._is_fenced(machine.uuid):
                    _log.warning('vm "%s" was given up while this host was away: it ends', machine.name)
                    if machine.state in ALIVE:
                        await self._fleet.kill(machine.namespace, machine.uuid)
                    await self._fleet.flush(machine.namespace, machine.uuid)

    async def _sweep(self) -> None:
        oldest = self._now() - KEPT_S
        others = {*self._members()} - {self._local}
        fences = self._shared.all(KIND, Fence)
        old = [uuid for uuid, fence in fences.items() if fence.host not in others and fence.given_up < oldest]
        await self._shared.put_all(KIND, dict.fromkeys(old))
