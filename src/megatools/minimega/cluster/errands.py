r"""Commands for VMs on hosts that are away: kept as shared records, carried out by the host once it is back.

`vm kill` and `vm tag` are kept, for what they ask is as true later; a start or a stop is not::

    fanout: a host is lost --> postponed --> errand (shared) --replicated--> its host: errand_rules --> kill, tags
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.cluster.errand_rules import Errand, Standing, settle
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import HostResult, Operation, Outcome, Request
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import Stamp
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.lifecycle import ALIVE
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.operations import ClearTags, KillVms, SetTag
from megatools.minimega.vm.targets import select

_log = logging.getLogger(__name__)
KIND = "errand"
_AGAIN_S = 10.0


class Errands:
    """What is to be done on hosts that are away, and this host's own; `may` says whether this node may ask for it."""

    def __init__(self, shared: Shared, fleet: Fleet, local: str, may: Callable[[], bool] = lambda: True) -> None:
        self._shared = shared
        self._fleet = fleet
        self._local = local
        self._may = may
        self._wake = asyncio.Event()
        shared.watch(KIND, lambda _: self._wake.set())

    async def postponed(self, request: Request, lost: HostResult) -> HostResult:
        """The result for a host that was lost: the errand is kept, where the request is one that can be."""
        errand = _errand_of(lost.host, request.namespace, request.operation)
        if errand is None or not self._may():
            return lost
        await self._shared.put(KIND, f"{lost.host}/{uuid.uuid4()}", errand)
        return HostResult(lost.host, Outcome.DONE, Answer(f"{lost.host} is away; done when it returns"))

    # ---- this host's own

    async def run(self) -> None:
        """Do what is asked of this host, now and whenever something comes, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.work_off()
            except MegaError as error:
                _log.warning("postponed commands: %s; tried again later", chain_text(error))
                await asyncio.sleep(_AGAIN_S)
                continue
            await self._wake.wait()

    async def work_off(self) -> None:
        """Carry out what there is for this host, then remove it. Raises what went wrong; the rest is done later."""
        mine: dict[str, tuple[Stamp, Errand]] = {}
        for id, errand in self._shared.all(KIND, Errand).items():
            entry = self._shared.entry(KIND, id)
            if errand.host == self._local and entry is not None:
                mine[id] = entry.stamp, errand
        for machine in self._fleet.machines() if mine else ():
            meant = [(stamp, errand) for stamp, errand in mine.values() if _is_meant(errand, machine)]
            if meant:
                await self._do(machine, meant)
        await self._shared.put_all(KIND, dict.fromkeys(mine))

    async def _do(self, machine: Machine, errands: Sequence[tuple[Stamp, Errand]]) -> None:
        before = Standing(machine.first_launch, machine.last_launch, machine.tags, machine.written)
        after = settle(before, errands)
        if after.written != before.written:
            await self._fleet.retag(machine, after.tags, after.written)
        if after.killed and machine.state in ALIVE:
            _log.warning('vm "%s" was killed while this host was away: it ends', machine.name)
            await self._fleet.kill(machine.namespace, machine.uuid)


def _errand_of(host: str, namespace: str, operation: Operation) -> Errand | None:
    match operation:
        case KillVms(target):
            return Errand(host, namespace, target, kill=True)
        case SetTag(target, key, value):
            return Errand(host, namespace, target, key=key, value=value)
        case ClearTags(target, key):
            return Errand(host, namespace, target, key=key)
        case _:
            return None


def _is_meant(errand: Errand, machine: Machine) -> bool:
    if errand.namespace != machine.namespace:
        return False
    try:
        return bool(select(errand.target, [machine]).matched)
    except MegaError as error:
        _log.info("a postponed command names nothing: %s", chain_text(error))
        return False
