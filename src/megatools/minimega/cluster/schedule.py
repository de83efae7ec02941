r"""Launches VMs over the hosts of a namespace, at once or from its queue (spec B.12); any node can drive.

::

    vm launch kvm web[1-3] --> survey: every host of the namespace says what it has (those away are left out, and named)
                           --> names, UUIDs        \ on the driver; nothing has started when one of these fails
                           --> placement (pure)    /
                           --> VLAN numbers, each resolved once
                           --> one request per host, all at once --> every VM launched, refused or lost
                                                                       lost: fence, new UUID, back in the queue

With queueing on, the first half stops at the queue; `vm launch` and `ns schedule` do the rest for all of it. A VM that
a host refused is reported and not queued again; a placement that fails leaves the queue as it was. The driver launches
nothing itself, unless it is one of the hosts.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import msgspec.structs

from megatools.hostkit.errors import AlreadyExists, InvalidState, MegaError, Unavailable, chain_text
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster.demands import Demand, Problem, natural
from megatools.minimega.cluster.fences import Fences
from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.cluster.launches import Fate, VmEnd, launch_over, report
from megatools.minimega.cluster.placement import Placement, place, verify
from megatools.minimega.cluster.runs import Desk, Draft, assigned
from megatools.minimega.cluster.survey import Survey, survey
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.namespace.membership import LOCALHOST
from megatools.minimega.namespace.namespace import Namespace
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.vm.config import VmKind
from megatools.minimega.vm.operations import LaunchVms
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.relocation import image_paths

_log = logging.getLogger(__name__)
_LARGE = 1000  # VMs whose placement is worth a thread
_NAMED = 8  # hosts whose silence is explained one by one

# Takes progress, for the user who waits.
Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """VMs to be launched: a list of names or a count, and the saved configuration, if not the current one.

    `only` are the hosts to be used in place of the namespace's: a command from another node acts on one host.
    """

    namespace: str
    kind: VmKind
    names: str
    config: str | None = None
    only: tuple[str, ...] = ()


class Scheduler:
    """Drives launches of all namespaces from this node."""

    def __init__(self, hosts: Hosts, namespaces: Namespaces, fences: Fences, files: Path) -> None:
        """`files` is the directory that relative images of this node's configurations are in."""
        self._hosts = hosts
        self._files = str(files.absolute())
        self._namespaces = namespaces
        self._fences = fences
        self._desks: dict[str, Desk] = {}

    def desk(self, namespace: str) -> Desk:
        """What is known of a namespace's launches from here."""
        return self._desks.setdefault(namespace, Desk())

    def awaited(self, namespace: str) -> set[str]:
        """The images, by absolute path, of the launches of a namespace that run from here."""
        return self._desks[namespace].awaited if namespace in self._desks else set()

    def forget(self, namespace: str) -> None:
        """The namespace was destroyed."""
        self._desks.pop(namespace, None)

    def check_idle(self, namespace: str) -> None:
        """Raise InvalidState while VMs of a namespace are being launched from here."""
        if namespace in self._desks and self._desks[namespace].busy:
            raise InvalidState(f"scheduler still running for namespace `{namespace}`", hint="ns schedule status")

    # ---- launch

    async def launch(self, wanted: Wanted, tell: Tell) -> Group:
        """Launch VMs over the hosts of the namespace, or queue them. Errors of single VMs are in the answer.

        Raises what stands against all of it, before anything is launched.
        """
        space = await self._namespaces.ensure(wanted.namespace)
        there = await self._survey(wanted.namespace, wanted.only)
        fenced = self._fences.fenced(there.uuids())
        homes = there.homes(ignored=fenced)
        uuids = there.uuids() - fenced
        plans = await space.plan_launch(wanted.kind, wanted.names, wanted.config, elsewhere=homes, uuids=uuids)
        try:
            if space.record.queueing:
                await space.queue.add(plans)
                return [Response(self._hosts.local)]
            problem = self._problem(wanted.namespace, plans, there, homes)
            return await self._carry_out(space, problem, await _placed(problem), plans, there, tell)
        finally:
            space.give_back(plans)

    async def launch_queue(self, namespace: str, tell: Tell) -> Group:
        """Launch what is queued: as the dry run had it, if nothing was queued since. Raises as `launch` does."""
        desk, space = self.desk(namespace), await self._namespaces.ensure(namespace)
        self.check_idle(namespace)
        desk.scheduling = True
        try:
            problem, plans, there = await self._queued(space)
            draft = desk.draft
            if draft is not None and draft.concerns(frozenset(plan.name for plan in plans)):
                verify(problem, draft.placement.hosts)
                problem, placement = draft.problem, draft.placement
            else:
                placement = await _placed(problem)
            desk.draft = None
            await space.queue.begin(plans)
            try:
                return await self._carry_out(space, problem, placement, plans, there, tell)
            finally:
                await _settled(space)
        finally:
            desk.scheduling = False

    async def dry_run(self, namespace: str) -> Draft:
        """Where the queued VMs would go; kept, to be looked at, changed and carried out."""
        desk, space = self.desk(namespace), await self._namespaces.ensure(namespace)
        self.check_idle(namespace)
        problem, _, _ = await self._queued(space)
        desk.draft = Draft(problem, await _placed(problem))
        return desk.draft

    def move(self, namespace: str, vms: str, host: str) -> Draft:
        """Change the dry run: put VMs on another host. Raises InvalidState, NotFound, or what the rules say."""
        desk = self.desk(namespace)
        draft = desk.the_draft()
        host = self._hosts.local if host == LOCALHOST else host
        if host not in self._namespaces.membership.hosts(namespace):
            raise InvalidState("new dst host is not in namespace", hint=f'"{host}"; ns hosts')
        desk.draft = draft.moved(vms, host)
        return desk.draft

    # ---- inside

    async def _survey(self, namespace: str, only: Sequence[str] = ()) -> Survey:
        """What the hosts have. Raises InvalidState (no hosts) or Unavailable (none answers)."""
        names = only or self._namespaces.membership.hosts(namespace)
        if not names:
            raise InvalidState("namespace must contain at least one host to launch VMs", hint="ns add-hosts")
        there = await survey(self._hosts, namespace, names)
        if not there.reports:
            reasons = "\n".join(f"{host}: {reason}" for host, reason in there.away.items())
            raise Unavailable(f'no host of namespace "{namespace}" answers\n{reasons}', hint="ns hosts, mesh list")
        return there

    async def _queued(self, space: Namespace) -> tuple[Problem, list[VmPlan], Survey]:
        """The queue, fit to be launched. Raises InvalidState (empty) or AlreadyExists (a name is in use by now)."""
        if not space.queue.vms():
            raise InvalidState("namespace must contain at least one queued VM to launch VMs", hint="ns queueing true")
        there = await self._survey(space.name)
        await self._settle_begun(space, there)
        homes = there.homes(ignored=self._fences.fenced(there.uuids()))
        plans = [queued.plan for queued in space.queue.vms()]
        taken = [plan.name for plan in plans if plan.name in homes]
        if taken:
            raise AlreadyExists(
                "\n".join(f"vm already exists with name `{name}`" for name in taken),
                hint="flush the old ones, or drop the queue: ns flush",
            )
        return self._problem(space.name, plans, there, homes), plans, there

    async def _settle_begun(self, space: Namespace, there: Survey) -> None:
        """Queued VMs that an earlier daemon was launching: those that are there are done, the others start anew."""
        begun = space.queue.begun()
        running = there.uuids()
        await space.queue.remove(plan.uuid for plan in begun if plan.uuid in running)
        for plan in begun:
            if plan.uuid not in running and not plan.config.uuid:
                await self._fences.put(self._hosts.local, [plan])
                await space.queue.replace(plan.uuid, _anew(plan))
        if begun:
            await space.queue.settle()

    def _problem(self, namespace: str, plans: Sequence[VmPlan], there: Survey, homes: dict[str, str]) -> Problem:
        rules = self._namespaces.membership.rules(namespace)
        local = self._hosts.local
        demands = tuple(_demand(plan, local) for plan in plans)
        anchors = {demand.colocate for demand in demands} & homes.keys()
        return Problem(
            hosts=there.capacities(),
            demands=demands,
            load=rules.load,
            caps=rules.caps,
            homes={name: homes[name] for name in anchors},
            away=frozenset(there.away),
        )

    async def _carry_out(
        self,
        space: Namespace,
        problem: Problem,
        placement: Placement,
        plans: Sequence[VmPlan],
        there: Survey,
        tell: Tell,
    ) -> Group:
        connected = {plan.name: plan for plan in await space.connect(plans)}
        incarnation = space.record.incarnation
        launches = {
            host: LaunchVms(
                tuple(connected[name] for name in names),
                self._files,
                incarnation,
                problem.caps,
                tuple(self._fences.fenced(there.reports[host].vms)) if host in there.reports else (),
            )
            for host, names in assigned(placement.hosts).items()
        }
        desk = self.desk(space.name)
        run = desk.begin(problem, placement, (path for plan in plans for path in image_paths(plan.config)))

        async def settle(host: str, ends: Sequence[VmEnd]) -> None:
            lost = [end.plan for end in ends if end.fate is Fate.LOST]
            run.launched += sum(end.fate is Fate.LAUNCHED for end in ends)
            run.failures += sum(end.fate is not Fate.LAUNCHED for end in ends)
            if lost:
                await self._fences.put(host, lost)
                again = [_anew(plan) for plan in lost if not plan.config.uuid]
                await space.queue.add(again, f"{host} was lost while it was to launch it")
            await space.queue.remove(end.plan.uuid for end in ends)

        try:
            ends = await launch_over(self._hosts, space.name, launches, settle, tell)
        finally:
            run.ended = desk.now()
        return report([_told(end) for end in ends], self._hosts.local, _notes(there.away))


async def _settled(space: Namespace) -> None:
    """The launch of the queue has ended, whatever the disk says to that: the next one looks what came of it."""
    try:
        await space.queue.settle()
    except MegaError as error:
        _log.warning('the queue of namespace "%s": %s; looked at by the next launch', space.name, chain_text(error))


async def _placed(problem: Problem) -> Placement:
    return await asyncio.to_thread(place, problem) if len(problem.demands) > _LARGE else place(problem)


def _anew(plan: VmPlan) -> VmPlan:
    """The plan of a VM that was given up, for another try."""
    return msgspec.structs.replace(plan, uuid=str(uuid.uuid4()), nics=())


def _demand(plan: VmPlan, local: str) -> Demand:
    config = plan.config
    return Demand(
        name=plan.name,
        vcpus=config.vcpus,
        memory_mib=config.memory_mib,
        nics=len(config.networks),
        schedule=local if config.schedule == LOCALHOST else config.schedule,
        colocate=config.colocate,
        coschedule=config.coschedule,
    )


def _told(end: VmEnd) -> VmEnd:
    """An end in words for the user."""
    if end.fate is not Fate.LOST:
        return end
    if end.unsettled:
        error = f"{end.error}; it cannot be given up, for this host cannot write that down: {end.unsettled}"
        hint = f"it may run on {end.host}: look there before it is launched again"
    elif end.plan.config.uuid:
        error, hint = f"{end.error}; it was given up, and not queued again for its UUID was set", "clear vm config uuid"
    else:
        error, hint = f"{end.error}; it was given up and is queued again", "`vm launch` launches the queue"
    return msgspec.structs.replace(end, error=error, hint=hint)


def _notes(away: Mapping[str, str]) -> list[str]:
    """That hosts got nothing, and why."""
    hosts = sorted(away, key=natural)
    lines = [f"no VM was placed on {host}: {away[host]}" for host in hosts[:_NAMED]]
    return lines if len(hosts) <= _NAMED else [*lines, f"nor on {compress(hosts[_NAMED:])}"]
