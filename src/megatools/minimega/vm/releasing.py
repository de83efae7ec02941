"""Taps of dead VMs are given back behind the user's back, in batches: OVS takes its time per port (facts.md section 3).

Used by `fleet`. A record keeps its taps until they are gone, so that a crash in between loses none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from megatools.hostkit.errors import MegaError, chain_text
from megatools.minimega.vm.machine import Machine
from megatools.minimega.vm.ports import Ports
from megatools.minimega.vm.writing import VmJournal

_log = logging.getLogger(__name__)


class TapReleaser:
    """Takes the taps of machines that died; `run` is its background task."""

    def __init__(self, records: VmJournal, network: Ports) -> None:
        self._records = records
        self._network = network
        self._wake = asyncio.Event()
        self._waiting: dict[str, Machine] = {}
        self._busy: dict[str, Machine] = {}
        self._changed = asyncio.Condition()

    def release(self, machine: Machine) -> None:
        """Give this dead VM's taps back soon."""
        if machine.site.taps:
            self._waiting[machine.uuid] = machine
            self._wake.set()

    async def settled(self, machines: Iterable[Machine]) -> None:
        """Wait until nothing of these VMs is being given back."""
        uuids = {machine.uuid for machine in machines}
        async with self._changed:
            await self._changed.wait_for(lambda: uuids.isdisjoint(self._waiting) and uuids.isdisjoint(self._busy))

    async def run(self) -> None:
        """Work off what comes, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._busy, self._waiting = self._waiting, {}
            try:
                await self._detach(list(self._busy.values()))
            finally:
                async with self._changed:
                    self._busy = {}
                    self._changed.notify_all()

    async def _detach(self, batch: list[Machine]) -> None:
        taps = [tap for machine in batch for tap in machine.site.taps]
        try:
            await self._network.detach(taps)
        except MegaError as error:
            _log.warning("%d taps of dead VMs stay until the next start: %s", len(taps), chain_text(error))
            return
        for machine in batch:
            machine.without_taps()
        try:
            await self._records.save(*batch)
        except MegaError as error:
            _log.warning("taps given back: %s", chain_text(error))
