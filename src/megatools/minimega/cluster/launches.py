"""Carries a placement out: one request per host, all at once; every VM ends as launched, refused or lost.

Used by `schedule`. A VM is lost when its host was, with nothing known of how far it got: it is given up with a fence
(`fences`) before anything else, so that it can be launched elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from megatools.hostkit.errors import MegaError, chain_text
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster import arrivals
from megatools.minimega.cluster.demands import natural
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.operation import HostResult, Outcome, Request
from megatools.minimega.vm.operations import LaunchVms
from megatools.minimega.vm.plan import VmPlan

_log = logging.getLogger(__name__)
_NAMED = 8  # busy hosts that progress names


class Fate(StrEnum):
    """How the launch of one VM ended."""

    LAUNCHED = "launched"
    REFUSED = "refused"
    LOST = "lost"


class VmEnd(msgspec.Struct, frozen=True):
    """The end of one VM's launch; `unsettled` says why it could not be noted here."""

    plan: VmPlan
    host: str
    fate: Fate
    error: str = ""
    hint: str = ""
    unsettled: str = ""


async def launch_over(
    hosts: Hosts,
    namespace: str,
    launches: Mapping[str, LaunchVms],
    settle: Callable[[str, Sequence[VmEnd]], Awaitable[None]],
    tell: Callable[[str], None],
) -> list[VmEnd]:
    """Carry out the launch of each host; returns all ends in the order of hosts.

    `settle` is awaited with each host's ends as they come; what it raises for one host ends no other's launch.
    """
    ends: dict[str, Sequence[VmEnd]] = {}
    progress = _Progress(launches, tell)

    async def one(host: str, launch: LaunchVms) -> None:
        [result] = await hosts.run(Request(namespace, launch, (host,)))
        ends[host] = _ends(result, launch.plans)
        try:
            await settle(host, ends[host])
        except MegaError as error:
            _log.error("the end of the launch on %s is not noted: %s", host, chain_text(error))
            ends[host] = [msgspec.structs.replace(end, unsettled=chain_text(error)) for end in ends[host]]
        progress.ended(host)

    async with arrivals.told(hosts, namespace, progress.busy, tell):
        tasks = (one(host, launch) for host, launch in launches.items())
        bugs = [error for error in await asyncio.gather(*tasks, return_exceptions=True) if error is not None]
    if bugs:
        raise bugs[0]
    return [end for host in launches for end in ends[host]]


class _Progress:
    """How far a launch is, told whenever a host is done; nothing is told of the end of a single host."""

    def __init__(self, launches: Mapping[str, LaunchVms], tell: Callable[[str], None]) -> None:
        self._launches = launches
        self._tell = tell
        self._busy = dict.fromkeys(launches)
        self._total = sum(len(launch.plans) for launch in launches.values())
        self._done = 0

    def busy(self) -> tuple[str, ...]:
        """The hosts that are not done."""
        return tuple(self._busy)

    def ended(self, host: str) -> None:
        """A host is done."""
        del self._busy[host]
        self._done += len(self._launches[host].plans)
        hosts = len(self._launches)
        if hosts == 1:
            return
        text = f"launching: {self._done} of {self._total} VMs, {hosts - len(self._busy)} of {hosts} hosts"
        if len(self._busy) > _NAMED:
            text += f", {len(self._busy)} hosts still busy"
        elif self._busy:
            text += f", still busy: {compress(self._busy)}"
        self._tell(text)


def _ends(result: HostResult, plans: Sequence[VmPlan]) -> list[VmEnd]:
    host = result.host
    match result.outcome:
        case Outcome.DONE:
            refused = {each.name: each for each in LaunchVms.refused(result.answer)} if result.answer else {}
            return [
                VmEnd(plan, host, Fate.LAUNCHED)
                if (no := refused.get(plan.name)) is None
                else VmEnd(plan, host, Fate.REFUSED, no.error, no.hint)
                for plan in plans
            ]
        case Outcome.ERROR:
            return [VmEnd(plan, host, Fate.REFUSED, result.error, result.hint) for plan in plans]
        case Outcome.LOST | Outcome.TIMED_OUT:
            return [VmEnd(plan, host, Fate.LOST, result.error or result.outcome.value, result.hint) for plan in plans]


def report(ends: Sequence[VmEnd], local: str, notes: Sequence[str]) -> Group:
    """What a user is told: each VM that was not launched, by host; nothing but the notes when all were."""
    failed: dict[str, list[VmEnd]] = {}
    for end in ends:
        if end.fate is not Fate.LAUNCHED:
            failed.setdefault(end.host, []).append(end)
    group = [Response(local, "\n".join(notes))] if notes or not failed else []
    launched = sum(end.fate is Fate.LAUNCHED for end in ends)
    for host in sorted(failed, key=natural):
        lines = [f"{end.plan.name}: {end.error}" for end in failed[host]] if len(ends) > 1 else [failed[host][0].error]
        hints = [f"{launched} of {len(ends)} VMs were launched"] if len(ends) > 1 else []
        hints += dict.fromkeys(end.hint for end in failed[host] if end.hint)
        group.append(Response(host, error="\n".join(lines) + (f"\nhint: {'; '.join(hints)}" if hints else "")))
    return group
