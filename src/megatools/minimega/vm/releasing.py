"""Taps of dead VMs are given back behind the user's back, in batches: OVS takes its time per port (facts.md section 3).

Used by `fleet`. A record keeps its taps until they are gone, so that a crash in between loses none. Those that the
switch does not take back now, because its disk is full for one, are offered again::

    release --> waiting --> busy --> gone
                   ^          | refused
                   +- later <-+
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.ports import Ports
from megatools.minimega.vm.writing import VmJournal

_log = logging.getLogger(__name__)
_AGAIN_S = 3.0


class TapReleaser:
    """Takes the taps of machines that died; `run` is its background task."""

    def __init__(self, records: VmJournal, network: Ports) -> None:
        self._records = records
        self._network = network
        self._wake = asyncio.Event()
        self._waiting: dict[str, Machine] = {}
        self._busy: dict[str, Machine] = {}
        self._later: dict[str, Machine] = {}
        self._changed = asyncio.Condition()

    def release(self, machine: Machine) -> None:
        """Give this dead VM's taps back soon."""
        if machine.site.taps:
            self._waiting[machine.uuid] = machine
            self._wake.set()

    async def settled(self, machines: Iterable[Machine]) -> None:
        """Wait until nothing of these VMs is being given back; taps they still have are the caller's from then on."""
        uuids = {machine.uuid for machine in machines}
        async with self._changed:
            await self._changed.wait_for(lambda: uuids.isdisjoint(self._waiting) and uuids.isdisjoint(self._busy))
        for uuid in uuids:
            self._later.pop(uuid, None)

    async def run(self) -> None:
        """Work off what comes, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN_S if self._later else None):
                    await self._wake.wait()
            self._wake.clear()
            batch = self._busy = {**self._later, **self._waiting}
            tried, self._waiting, self._later = bool(self._later), {}, {}
            try:
                await self._detach(list(batch.values()))
            except MegaError as error:
                self._later = batch
                level = logging.INFO if tried else logging.WARNING
                _log.log(level, "taps of %d dead VMs stay for now: %s", len(batch), chain_text(error))
            finally:
                async with self._changed:
                    self._busy = {}
                    self._changed.notify_all()

    async def _detach(self, batch: list[Machine]) -> None:
        if not batch:
            return
        await self._network.detach([tap for machine in batch for tap in machine.site.taps])
        for machine in batch:
            machine.without_taps()
        try:
            await self._records.save(*batch)
        except MegaError as error:
            _log.warning("taps given back: %s", chain_text(error))
