"""VMs of one name on different hosts of a namespace are told apart again, by the rule of `twin_rules`.

Each host looks after a node came, and now and then; it asks the hosts of its namespaces what their VMs are called, and
renames its own where the rule says so. The tag `renamed-from` tells what it was called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import ClassVar

import msgspec

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.cluster.twin_rules import Named, renamed
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Handlers, Operation, Request
from megatools.minimega.mesh.mesh import Mesh
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.vm.fleet import Fleet

_log = logging.getLogger(__name__)
_SETTLE_S = 2.0  # after a node came others come too, and records are traded
_LOOK_S = 60.0
TAG = "renamed-from"


class ListNames(Operation, frozen=True):
    """Tell what this host's VMs of the namespace are called, and when they were launched: `Named` rows in `data`."""

    reads: ClassVar[bool] = True


class Twins:
    """This host's part."""

    def __init__(self, fleet: Fleet, local: str) -> None:
        self._fleet = fleet
        self._local = local

    def handlers(self) -> Handlers:
        """What other hosts ask."""

        async def names(namespace: str, _asked: ListNames) -> Answer:
            return Answer(data=msgspec.Raw(msgspec.json.encode(self._own(namespace))))

        return {ListNames: names}

    async def run(self, mesh: Mesh, hosts: Hosts, membership: Membership) -> None:
        """Look whenever a node came, and now and then, until cancelled."""
        while True:
            await _somebody_came(mesh)
            for namespace in sorted({machine.namespace for machine in self._fleet.machines()}):
                names = membership.hosts(namespace)
                if len(names) > 1:
                    try:
                        await self.settle(hosts, namespace, names)
                    except MegaError as error:
                        _log.warning("doubled names in %s: %s; looked at again later", namespace, chain_text(error))

    async def settle(self, hosts: Hosts, namespace: str, names: Sequence[str]) -> None:
        """Rename this host's VMs that must give up their names. Raises what the journal refuses."""
        vms = self._own(namespace)
        others = tuple(name for name in names if name != self._local)
        for result in await hosts.run(Request(namespace, ListNames(), others)):
            if result.answer is not None and result.answer.data is not None:
                vms += msgspec.json.decode(result.answer.data, type=list[Named])
        for uuid, name in renamed(self._local, vms).items():
            machine = self._fleet.find(namespace, uuid)
            _log.warning('vm "%s" has a namesake that is older: it is called "%s" now', machine.name, name)
            await self._fleet.rename(machine, name, TAG)

    def _own(self, namespace: str) -> list[Named]:
        return [
            Named(machine.first_launch, self._local, machine.uuid, machine.name)
            for machine in self._fleet.machines(namespace)
        ]


async def _somebody_came(mesh: Mesh) -> None:
    """Wait until a node came, and a moment longer; or a while."""
    try:
        async with asyncio.timeout(_LOOK_S), aclosing(_events(mesh)) as joined:
            await anext(joined)
    except TimeoutError:
        return
    await asyncio.sleep(_SETTLE_S)


async def _events(mesh: Mesh) -> AsyncGenerator[None, None]:
    async for event in mesh.events():
        if event.joined:
            yield None
