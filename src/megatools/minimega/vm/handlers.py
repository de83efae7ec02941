"""How a host carries out what it is asked to do with virtual machines. `app` registers `handlers(fleet)`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from megatools.hostkit.errors import InvalidState, NotFound, PermissionDenied, chain_text, hint_of
from megatools.hostkit.files import write_atomically
from megatools.minimega.lang.answer import Answer, Table, rows_table
from megatools.minimega.lang.operation import Handlers
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.operations import (
    ClearTags,
    CloneConfig,
    FlushVms,
    KillVms,
    LaunchVms,
    ReadTags,
    SetTag,
    StartVms,
    StopVms,
    TakeScreenshot,
    VmInfo,
)
from megatools.minimega.vm.rows import VmRow, VmSummary


class _VmHandlers:
    """The handlers, as methods."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def launch(self, _namespace: str, op: LaunchVms) -> Answer:
        """Errors come back per VM; the others are up."""
        results = await self._fleet.launch(op.plans)
        failed = [(result.name, result.error) for result in results if result.error is not None]
        if not failed:
            return Answer()
        if len(results) == 1:
            raise failed[0][1]
        lines = [f"{name}: {chain_text(error)}" for name, error in failed]
        done = f"{len(results) - len(failed)} of {len(results)} VMs were launched"
        raise InvalidState("\n".join(lines), hint="; ".join(part for part in (done, hint_of(failed[0][1])) if part))

    async def start(self, namespace: str, op: StartVms) -> Answer:
        """Warnings as text."""
        return Answer(await self._fleet.start(namespace, op.target))

    async def stop(self, namespace: str, op: StopVms) -> Answer:
        """Warnings as text."""
        return Answer(await self._fleet.stop(namespace, op.target))

    async def kill(self, namespace: str, op: KillVms) -> Answer:
        """Warnings as text."""
        return Answer(await self._fleet.kill(namespace, op.target))

    async def flush(self, namespace: str, op: FlushVms) -> Answer:
        """Warnings as text."""
        return Answer(await self._fleet.flush(namespace, op.target))

    async def info(self, namespace: str, op: VmInfo) -> Answer:
        """One row per VM."""
        if op.summary:
            return Answer(table=rows_table(VmSummary, self._fleet.summaries(namespace)))
        return Answer(table=rows_table(VmRow, self._fleet.rows(namespace)))

    async def read_tags(self, namespace: str, op: ReadTags) -> Answer:
        """All tags, or one tag of each VM."""
        vms = self._targets(namespace, op.target)
        if op.key:
            return Answer(table=Table(("name", "value"), tuple((vm.name, vm.tags.get(op.key, "")) for vm in vms)))
        cells = tuple((vm.name, key, value) for vm in vms for key, value in sorted(vm.tags.items()))
        return Answer(table=Table(("name", "tag", "value"), cells))

    async def set_tag(self, namespace: str, op: SetTag) -> Answer:
        """Nothing to say."""
        await self._fleet.tag(self._targets(namespace, op.target), {op.key: op.value})
        return Answer()

    async def clear_tags(self, namespace: str, op: ClearTags) -> Answer:
        """Nothing to say; an absent tag is no error."""
        vms = self._targets(namespace, op.target)
        keys = [op.key] if op.key else sorted({key for vm in vms for key in vm.tags})
        await self._fleet.tag(vms, dict.fromkeys(keys))
        return Answer()

    async def screenshot(self, namespace: str, op: TakeScreenshot) -> Answer:
        """The file's name; the picture itself is in the data, base64."""
        machine = self._fleet.find(namespace, op.vm)
        content = await self._fleet.screenshot(namespace, op.vm, op.max_px)
        path = Path(op.file) if op.file else machine.site.directory / "screenshot.png"
        if path.is_dir():
            raise PermissionDenied(f'cannot write "{path}"', hint="it is a directory")
        if not path.is_char_device():
            await asyncio.to_thread(write_atomically, path, content)
        return Answer(data=msgspec.Raw(msgspec.json.encode(content)))

    async def clone_config(self, namespace: str, op: CloneConfig) -> Answer:
        """The configuration of a VM as JSON."""
        config = self._fleet.find(namespace, op.vm).site.plan.config
        return Answer(data=msgspec.Raw(msgspec.json.encode(msgspec.structs.replace(config, uuid=""))))

    def _targets(self, namespace: str, target: str) -> Sequence[Machine]:
        found = self._fleet.select(namespace, target)
        if found.unmatched:
            raise NotFound("\n".join(f"vm not found: {word}" for word in found.unmatched), hint="`vm info` lists them")
        return found.matched


def handlers(fleet: Fleet) -> Handlers:
    """The functions that carry the operations out on this host."""
    of = _VmHandlers(fleet)
    return {
        LaunchVms: of.launch,
        StartVms: of.start,
        StopVms: of.stop,
        KillVms: of.kill,
        FlushVms: of.flush,
        VmInfo: of.info,
        ReadTags: of.read_tags,
        SetTag: of.set_tag,
        ClearTags: of.clear_tags,
        TakeScreenshot: of.screenshot,
        CloneConfig: of.clone_config,
    }
