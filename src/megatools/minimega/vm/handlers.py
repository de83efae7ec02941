"""How a host carries out what it is asked to do with virtual machines. `app` registers `handlers(fleet)`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from megatools.hostkit.errors import NotFound, PermissionDenied, chain_text, hint_of
from megatools.minimega.lang.answer import Answer, Table, rows_table
from megatools.minimega.lang.operation import Handlers
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.operations import (
    EVERY_TAG,
    ClearTags,
    CloneConfig,
    FlushVms,
    KillVms,
    LaunchVms,
    ReadTags,
    Refused,
    SetTag,
    StartVms,
    StopVms,
    TakeScreenshot,
    VmInfo,
)
from megatools.minimega.vm.pictures import write_picture
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.relocation import image_paths, relocated
from megatools.minimega.vm.rows import VmRow, VmSummary
from megatools.minimega.vm.targets import VmNotFound

_log = logging.getLogger(__name__)


class Images(Protocol):
    """Brings images to this host."""

    async def provide(self, paths: Iterable[str]) -> None:
        """Fetch what is missing of some absolute paths and of what they rest on. Raises NotFound, Unavailable."""


class _VmHandlers:
    """The handlers, as methods."""

    def __init__(self, fleet: Fleet, images: Images | None) -> None:
        self._fleet = fleet
        self._images = images

    async def launch(self, _namespace: str, op: LaunchVms) -> Answer:
        """Errors come back per VM; the others are up. Images that are not here are fetched first."""
        results = await self._fleet.launch(await self._at_home(op), op.caps)
        return LaunchVms.answer(
            [
                Refused(result.name, chain_text(result.error), hint_of(result.error))
                for result in results
                if result.error is not None
            ]
        )

    async def _at_home(self, op: LaunchVms) -> Sequence[VmPlan]:
        """The plans with images of the planner's file directory meant in ours, and those images here."""
        here = self._fleet.files.absolute()
        before = Path(op.files) if op.files else here
        plans = [
            msgspec.structs.replace(plan, config=relocated(plan.config, before, here)) if before != here else plan
            for plan in op.plans
        ]
        if self._images is not None:
            paths = {path for plan in plans for path in image_paths(plan.config)}
            try:
                await self._images.provide(paths)
            except (NotFound, PermissionDenied) as error:  # the VMs that want it say so themselves, one by one
                _log.info("%s", chain_text(error))
        return plans

    async def start(self, namespace: str, op: StartVms) -> Answer:
        """The words that name no VM here."""
        return Answer(missing=await self._fleet.start(namespace, op.target))

    async def stop(self, namespace: str, op: StopVms) -> Answer:
        """The words that name no VM here."""
        return Answer(missing=await self._fleet.stop(namespace, op.target))

    async def kill(self, namespace: str, op: KillVms) -> Answer:
        """The words that name no VM here."""
        return Answer(missing=await self._fleet.kill(namespace, op.target))

    async def flush(self, namespace: str, op: FlushVms) -> Answer:
        """The words that name no VM here."""
        return Answer(missing=await self._fleet.flush(namespace, op.target))

    async def info(self, namespace: str, op: VmInfo) -> Answer:
        """One row per VM."""
        if op.summary:
            return Answer(table=rows_table(VmSummary, self._fleet.summaries(namespace)))
        return Answer(table=rows_table(VmRow, self._fleet.rows(namespace)))

    async def read_tags(self, namespace: str, op: ReadTags) -> Answer:
        """All tags, or one tag of each VM."""
        vms, missing = self._targets(namespace, op.target)
        if op.key:
            table = Table(("name", "value"), tuple((vm.name, vm.tags.get(op.key, "")) for vm in vms))
        else:
            cells = tuple((vm.name, key, value) for vm in vms for key, value in sorted(vm.tags.items()))
            table = Table(("name", "tag", "value"), cells)
        return Answer(table=table, missing=missing)

    async def set_tag(self, namespace: str, op: SetTag) -> Answer:
        """The words that name no VM here."""
        vms, missing = self._targets(namespace, op.target)
        await self._fleet.tag(vms, {op.key: op.value})
        return Answer(missing=missing)

    async def clear_tags(self, namespace: str, op: ClearTags) -> Answer:
        """The words that name no VM here; an absent tag is no error."""
        vms, missing = self._targets(namespace, op.target)
        keys = [op.key] if op.key != EVERY_TAG else [EVERY_TAG, *sorted({key for vm in vms for key in vm.tags})]
        await self._fleet.tag(vms, dict.fromkeys(keys))
        return Answer(missing=missing)

    async def screenshot(self, namespace: str, op: TakeScreenshot) -> Answer:
        """The picture is in the data, base64."""
        machine = self._fleet.find(namespace, op.vm)
        content = await self._fleet.screenshot(namespace, op.vm, op.max_px)
        if op.keep:
            await write_picture(machine.site.directory / "screenshot.png", content)
        return Answer(data=msgspec.Raw(msgspec.json.encode(content)))

    async def clone_config(self, namespace: str, op: CloneConfig) -> Answer:
        """The configuration of a VM as JSON."""
        config = self._fleet.find(namespace, op.vm).site.plan.config
        return Answer(data=msgspec.Raw(msgspec.json.encode(msgspec.structs.replace(config, uuid=""))))

    def _targets(self, namespace: str, target: str) -> tuple[Sequence[Machine], tuple[str, ...]]:
        """The VMs a target names, and the words that name none. Raises VmNotFound when there is no VM among them."""
        found = self._fleet.select(namespace, target)
        if found.unmatched and not found.matched:
            raise VmNotFound(found.unmatched)
        return found.matched, found.unmatched


def handlers(fleet: Fleet, images: Images | None = None) -> Handlers:
    """The functions that carry the operations out on this host."""
    of = _VmHandlers(fleet, images)
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
