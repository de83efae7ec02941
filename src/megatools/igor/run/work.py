"""The work that follows from changes: hooks, power, switches, messages; `api` calls `do_due`.

Tasks stand in the store until they are done, so each is done at least once, whatever is killed; one process works at a
time. What a task means is looked up when it is done: a node is put into the VLAN of the reservation that holds it now,
and only nodes that a reservation still holds are power-cycled for it. What fails for good is told to the owner.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, InvalidInput, MegaError, NotFound, PermissionDenied, chain_text
from megatools.hostkit.files import Lock
from megatools.igor.model import nodes
from megatools.igor.model.config import Config
from megatools.igor.model.host import Host
from megatools.igor.model.reservation import Reservation, State, Task, TaskKind
from megatools.igor.power import choice as power_choice
from megatools.igor.power import fleet
from megatools.igor.power.driver import Action
from megatools.igor.run import hook_helper
from megatools.igor.run.hooks import TIMEOUT_S as HOOK_TIMEOUT_S
from megatools.igor.run.hooks import owner_of
from megatools.igor.run.notices import deliver
from megatools.igor.segment import choice as segment_choice
from megatools.igor.segment.driver import Port
from megatools.igor.store.store import Store

LOCK = "work.lock"
MAX_TRIES = 5
HOOK_UNIT = Path("/etc/systemd/system/igor-hook@.service")
_SYSTEMD = Path("/run/systemd/system")
_FIRST_PAUSE_S = 30
_BATCH = 100
_AT_ONCE = 8
_FINAL = (InvalidInput, NotFound)  # trying again cannot help
_SEGMENTS = (TaskKind.SEGMENT_JOIN, TaskKind.SEGMENT_LEAVE)


class Done(msgspec.Struct, frozen=True):
    """What became of one task: an empty `error` when it is done; `again` when it will be tried later."""

    task: Task
    error: str = ""
    again: bool = False


class _LeftToOthers(PermissionDenied):
    """This process may not do the task; another one will."""


def do_due(store: Store, config: Config, *, clock: Callable[[], float] = time.time) -> list[Done]:
    """Do all work that is due; returns what was tried. Does nothing while another process is at it.

    Never raises for a task. Raises what the store raises.
    """
    if not store.due_tasks(int(clock()), 1):
        return []
    lock = Lock(store.directory / LOCK)
    if not lock.acquire():
        return []
    try:
        return asyncio.run(_Worker(store, config, clock).everything())
    finally:
        lock.release()


class _Worker:
    """One round of work; the store is touched between awaits only, from this thread."""

    def __init__(self, store: Store, config: Config, clock: Callable[[], float]) -> None:
        self._store, self._config, self._clock = store, config, clock
        self._switch = asyncio.Lock()  # switches have one configuration
        self._helped: set[int] = set()  # the helper runs all due hooks of a reservation at once

    async def everything(self) -> list[Done]:
        seen: set[int] = set()
        done: list[Done] = []
        while True:
            now_s = int(self._clock())
            due = [task for task in self._store.due_tasks(now_s, _BATCH + len(seen)) if task.id not in seen]
            if not due:
                return done
            seen.update(task.id for task in due)
            by_reservation: dict[int, list[Task]] = {}
            for task in due:
                by_reservation.setdefault(task.reservation, []).append(task)
            done += await self._side_by_side(list(by_reservation.values()))

    async def _side_by_side(self, queues: Sequence[list[Task]]) -> list[Done]:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(queue: list[Task]) -> list[Done]:
            async with places:
                found: list[Done] = []
                for task in queue:  # of one reservation: in the order they were asked for
                    found += await self._tried(task)
                return found

        async with asyncio.TaskGroup() as group:
            work = [group.create_task(one(queue)) for queue in queues]
        return [done for task in work for done in task.result()]

    async def _tried(self, task: Task) -> list[Done]:
        try:
            await self._do(task)
            result = Done(task)
        except _LeftToOthers:
            return []
        except MegaError as error:
            result = Done(task, chain_text(error), not isinstance(error, _FINAL) and _may_repeat(task))
        self._record(result)
        return [result]

    def _record(self, done: Done) -> None:
        task, now_s = done.task, int(self._clock())
        with self._store.change() as change:
            if done.again:
                change.retry_task(task.id, now_s + _FIRST_PAUSE_S * 2**task.tries)
                return
            change.finish_task(task.id)
            if done.error:
                change.event(now_s, task.person, f"{task.kind.value} failed", task.reservation, done.error)
                if task.kind is not TaskKind.NOTICE:
                    reservation = self._store.reservation(task.reservation)
                    text = f'{_SPOKEN[task.kind]} of reservation "{task.name}" failed: {done.error}'
                    change.add_task(TaskKind.NOTICE, reservation, due_s=now_s, text=text, person=task.person)

    async def _do(self, task: Task) -> None:
        match task.kind:
            case TaskKind.NOTICE:
                await self._notice(task)
            case TaskKind.POWER_CYCLE:
                await self._power(task)
            case TaskKind.SEGMENT_JOIN | TaskKind.SEGMENT_LEAVE:
                async with self._switch:
                    await self._segment(task)
            case TaskKind.HOOK_START | TaskKind.HOOK_END:
                await self._hook(task)

    # ------------------------------------------------------------------ kinds of work

    async def _notice(self, task: Task) -> None:
        mail = self._store.reservation(task.reservation).details.mail
        await deliver(task.person, mail, task.name, task.text, self._config)

    async def _power(self, task: Task) -> None:
        reservation = self._store.reservation(task.reservation)
        still = reservation.nodes if reservation.state is State.ACTIVE else nodes.NodeSet()
        hosts = self._hosts(number for number in task.nodes if number in still)
        drivers = power_choice.drivers_for(self._config.power)
        outcomes = await fleet.carry_out(hosts, Action.CYCLE, drivers, self._config.power)
        failed = [outcome for outcome in outcomes if not outcome.ok]
        if failed:
            who = self._config.cluster.written(nodes.of(outcome.number for outcome in failed))
            raise CommandFailed(f'"{who}" could not be power-cycled: {failed[0].error}')

    async def _segment(self, task: Task) -> None:
        """Put each node where it belongs now: into its holder's VLAN, or back to the default."""
        driver = segment_choice.driver_for(self._config.segment)
        timeout_s = self._config.segment.timeout_s
        for vlan, members in _belonging(task, self._store.active()).items():
            ports = [Port(host.name, host.port) for host in self._hosts(members)]
            if vlan:
                await driver.join(ports, vlan, timeout_s=timeout_s)
            else:
                await driver.leave(ports, task.vlan, timeout_s=timeout_s)

    async def _hook(self, task: Task) -> None:
        if not self._config.hooks:
            return
        reservation = self._store.reservation(task.reservation)
        owner = owner_of(reservation)
        by_systemd = HOOK_UNIT.exists() and _SYSTEMD.is_dir()
        if not by_systemd and os.geteuid() in (0, owner.uid):
            await asyncio.to_thread(hook_helper.run_one, self._config.cluster, reservation, task)
            return
        if task.reservation in self._helped:
            return
        self._helped.add(task.reservation)
        argv = helper_words(task.reservation, by_systemd=by_systemd)
        done = await proc.run(argv, timeout_s=HOOK_TIMEOUT_S + 30, check=False)
        if done.status == 1 and b"sudo:" in done.stderr:
            raise _LeftToOthers("sudo does not let igor run hooks")
        if done.status != 0:
            raise CommandFailed(proc.failure_text(done))

    def _hosts(self, numbers: Iterable[int]) -> list[Host]:
        known, cluster = self._store.hosts(), self._config.cluster
        return [known.get(number) or Host(number, cluster.name(number)) for number in numbers]


def helper_words(reservation: int, *, by_systemd: bool) -> list[str]:
    """The command that runs a reservation's due hooks: its unit, outside our own sandbox, or sudo."""
    if by_systemd:
        return ["systemctl", "start", f"igor-hook@{reservation}.service"]
    return ["sudo", "-n", str(Path(sys.executable).with_name("igor-hook")), str(reservation)]


def _belonging(task: Task, active: Sequence[Reservation]) -> Mapping[int, list[int]]:
    """The VLAN each node of a task belongs to now (0: the default), and which nodes those are."""
    found: dict[int, list[int]] = {}
    for number in task.nodes:
        vlan = next((one.vlan for one in active if number in one.nodes), 0)
        found.setdefault(vlan, []).append(number)
    return found


def _may_repeat(task: Task) -> bool:
    """Messages and switches are tried again; power has tried already, and a hook runs once."""
    return (task.kind is TaskKind.NOTICE or task.kind in _SEGMENTS) and task.tries + 1 < MAX_TRIES


_SPOKEN = {
    TaskKind.HOOK_START: "the start hook",
    TaskKind.HOOK_END: "the end hook",
    TaskKind.POWER_CYCLE: "power-cycling the nodes",
    TaskKind.SEGMENT_JOIN: "the VLAN",
    TaskKind.SEGMENT_LEAVE: "leaving the VLAN",
    TaskKind.NOTICE: "a notice",
}
