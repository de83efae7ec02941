"""What a host has and how much of it is promised to VMs: the rows of `host`, and the version it runs."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Protocol

import msgspec
import msgspec.structs

from megatools.hostkit import facts, revision
from megatools.hostkit.errors import NotFound
from megatools.hostkit.units import format_duration
from megatools.minimega.lang.answer import Answer, rows_table
from megatools.minimega.lang.operation import Handlers, Operation
from megatools.minimega.vm.rooms import Capacity

_WINDOW_S = 0.2  # how long traffic is watched when there is no earlier reading
_MAX_AGE_S = 60.0


class HostInfo(Operation, frozen=True):
    """Tell what this host has and promised: all fields, or one of them."""

    field: str = ""

    reads: ClassVar[bool] = True


class HostVersion(Operation, frozen=True):
    """Tell which version runs here."""

    reads: ClassVar[bool] = True


class Promises(Protocol):
    """Something that knows the VMs of this host."""

    def capacity(self) -> Capacity:
        """What this host has and has promised to VMs."""
        ...


class HostRow(msgspec.Struct, frozen=True):
    """A line of `host`: memory in MB, traffic in MB/s; no limit on VMs is -1."""

    cpus: int
    load: str
    memused: int
    memtotal: int
    rx: str
    tx: str
    vms: int
    vmlimit: int
    androidvms: int
    cpucommit: int
    memcommit: int
    netcommit: int
    uptime: str


class HostFacts:
    """Answers `host` and `version` on one host."""

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self._older: facts.Traffic | None = None
        self._last = facts.traffic()

    def handlers(self) -> Handlers:
        """What hosts can be asked."""
        return {HostInfo: self._info, HostVersion: self._version}

    async def row(self) -> HostRow:
        """The facts now; traffic is averaged since an earlier reading, or over a moment when there is none of late."""
        received, sent = await self._traffic()
        memory, promised = facts.memory(), self._promises.capacity().promised
        return HostRow(
            cpus=facts.cpu_count(),
            load=" ".join(f"{load:.2f}" for load in facts.load_averages()),
            memused=memory.used_mib,
            memtotal=memory.total_mib,
            rx=f"{received:.2f}",
            tx=f"{sent:.2f}",
            vms=promised.vms,
            vmlimit=promised.vm_limit,
            androidvms=0,
            cpucommit=promised.vcpus,
            memcommit=promised.memory_mib,
            netcommit=promised.nics,
            uptime=format_duration(facts.uptime_s()),
        )

    async def _traffic(self) -> tuple[float, float]:
        """Megabytes per second received and sent; waits only while there are no two readings far enough apart."""
        now = facts.traffic()
        if now.at_s - self._last.at_s > _MAX_AGE_S:
            self._older, self._last = None, now
        age_s = now.at_s - self._last.at_s
        if age_s < _WINDOW_S:
            if self._older is not None:
                return facts.megabytes_per_s(self._older, now)
            await asyncio.sleep(_WINDOW_S - age_s)  # the measuring window itself, not a wait for something
            now = facts.traffic()
        before, self._older, self._last = self._last, self._last, now
        return facts.megabytes_per_s(before, now)

    async def _info(self, _namespace: str, asked: HostInfo) -> Answer:
        if asked.field == "name":
            return Answer(facts.host_name())
        known = [field.name for field in msgspec.structs.fields(HostRow)]
        if asked.field and asked.field not in known:
            raise NotFound(f'no such host field "{asked.field}"', hint=f"there are: {', '.join(('name', *known))}")
        table = rows_table(HostRow, [await self.row()])
        if asked.field:
            return Answer(table.rows[0][known.index(asked.field)])
        return Answer(table=table)

    async def _version(self, _namespace: str, _asked: HostVersion) -> Answer:
        return Answer(revision.version_text("minimega"))
