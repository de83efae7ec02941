"""The VMs of a namespace that are planned and not launched yet; journaled on the host where they were queued.

Before VMs are launched, one record says which (`begun`). What still stands there when a daemon starts was in the middle
of it: `cluster.schedule` finds out whether it runs somewhere before it launches it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

import msgspec
import msgspec.structs

from megatools.hostkit.ranges import compress
from megatools.minimega.state.journal import Delete, Journal, Put
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.fields import show_config
from megatools.minimega.vm.plan import VmPlan

KIND = "queued"
BEGUN = "queue-begun"


class QueuedVm(msgspec.Struct, frozen=True, omit_defaults=True):
    """Journal kind `queued`: a VM, its place in the queue, and why it is there if nobody asked to queue it."""

    plan: VmPlan
    number: int
    note: str = ""


class QueueRow(msgspec.Struct, frozen=True):
    """A line of `ns queue list`: memory in MiB."""

    name: str
    type: VmKind
    vcpus: int
    memory: int
    nics: int
    schedule: str
    colocate: str
    coschedule: int
    note: str


class Queue:
    """The queue of one namespace, by UUID, in order."""

    def __init__(self, journal: Journal, namespace: str) -> None:
        self._journal = journal
        self._namespace = namespace
        self._vms: dict[str, QueuedVm] = {}
        self._begun: frozenset[str] = frozenset()
        self._next = 0

    def recover_begun(self, uuids: Iterable[str]) -> None:
        """Take what an earlier daemon wrote of launches it had begun."""
        self._begun = frozenset(uuids)

    def recover(self, queued: QueuedVm) -> None:
        """Take one an earlier daemon wrote; call for each."""
        self._vms[queued.plan.uuid] = queued
        self._next = max(self._next, queued.number + 1)

    def vms(self) -> Sequence[QueuedVm]:
        """All, in order."""
        return sorted(self._vms.values(), key=lambda queued: queued.number)

    def names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(queued.plan.name for queued in self._vms.values())

    def uuids(self) -> Collection[str]:
        """Their UUIDs."""
        return list(self._vms)

    async def add(self, plans: Sequence[VmPlan], note: str = "") -> None:
        """Put VMs at the end."""
        added = [QueuedVm(plan, self._next + at, note=note) for at, plan in enumerate(plans)]
        self._next += len(added)
        await self._journal.write(*(self._put(queued) for queued in added))
        self._vms.update({queued.plan.uuid: queued for queued in added})

    def begun(self) -> Sequence[VmPlan]:
        """Those whose launch was begun and never settled."""
        return [queued.plan for queued in self.vms() if queued.plan.uuid in self._begun]

    async def begin(self, plans: Iterable[VmPlan]) -> None:
        """These are about to be launched."""
        self._begun = frozenset(plan.uuid for plan in plans)
        await self._journal.write(Put(BEGUN, self._namespace, self._namespace, list(self._begun)))

    async def settle(self) -> None:
        """No launch is under way: what is queued waits."""
        await self._journal.write(Delete(BEGUN, self._namespace))
        self._begun = frozenset()

    async def replace(self, uuid: str, plan: VmPlan) -> None:
        """Put another plan in a VM's place."""
        changed = msgspec.structs.replace(self._vms.pop(uuid), plan=plan)
        self._vms[plan.uuid] = changed
        await self._journal.write(Delete(KIND, uuid), self._put(changed))

    async def remove(self, uuids: Iterable[str]) -> None:
        """Take VMs out, if they are there."""
        gone = [uuid for uuid in uuids if uuid in self._vms]
        await self._journal.write(*(Delete(KIND, uuid) for uuid in gone))
        for uuid in gone:
            self._vms.pop(uuid, None)

    # ---- show

    def text(self) -> str:
        """The queue for people: VMs of one kind and configuration together, as they were queued."""
        blocks: list[str] = []
        for (kind, _, note), group in groupby(self.vms(), key=_alike):
            plans = [queued.plan for queued in group]
            lines = [f"VMs: {len(plans)}", f"Names: {compress(plan.name for plan in plans)}", f"VM Type: {kind}"]
            lines += [f"Note: {note}"] if note else []
            blocks.append("\n".join([*lines, "", show_config(plans[0].config)]))
        return "\n\n".join(blocks)

    def rows(self) -> list[QueueRow]:
        """The queue as a table."""
        return [_row(queued) for queued in self.vms()]

    def _put(self, queued: QueuedVm) -> Put:
        return Put(KIND, queued.plan.uuid, self._namespace, queued)


def _alike(queued: QueuedVm) -> tuple[VmKind, object, str]:
    return queued.plan.kind, queued.plan.config, queued.note


def _row(queued: QueuedVm) -> QueueRow:
    config = queued.plan.config
    return QueueRow(
        name=queued.plan.name,
        type=queued.plan.kind,
        vcpus=config.vcpus,
        memory=config.memory_mib,
        nics=len(config.networks),
        schedule=config.schedule,
        colocate=config.colocate,
        coschedule=config.coschedule,
        note=queued.note,
    )
