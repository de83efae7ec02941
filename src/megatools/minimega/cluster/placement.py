"""Which host each VM is launched on (spec B.12 "Scheduling algorithm", D.11): pure, deterministic, and it can say why.

Groups (VMs that belong together) are placed in this order: those with a given host, those that tolerate the fewest
neighbours, those with the most members, the larger (by the load function), the first by name. Each goes to the least
loaded host that may take it; equally loaded hosts are taken in the order of their names. Nothing depends on the order
of the input. When spreading leaves no room for a group, all are packed instead: the first host by name that fits.

How the next host is found without looking at all of them stands in `choice`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound
from megatools.hostkit.ranges import compress
from megatools.minimega.cluster.choice import Choice
from megatools.minimega.cluster.demands import Group, Problem, group_demands, natural
from megatools.minimega.namespace.policy import LoadFunction, load_of
from megatools.minimega.vm.rooms import NoRoom, Room

_SHOWN = 8  # hosts an error lists one by one


@dataclass(frozen=True)
class Placement:
    """The host of every VM by name; `packed` says that spreading failed and they were packed.

    `moved` are VMs that a user put elsewhere afterwards.
    """

    hosts: Mapping[str, str]
    packed: bool = False
    moved: frozenset[str] = frozenset()


def place(problem: Problem) -> Placement:
    """A host for every VM. Raises NotFound, InvalidInput, InvalidState or Unavailable (NoRoom) for what cannot be."""
    groups = _in_order(problem)
    try:
        return Placement(_assign(problem, groups, packed=False).hosts)
    except NoRoom:
        try:
            return Placement(_assign(problem, groups, packed=True).hosts, packed=True)
        except NoRoom:
            pass  # what spreading said is what a reader expects
        raise


def verify(problem: Problem, hosts: Mapping[str, str]) -> None:
    """Check a placement made by hand. Raises as `place` does; every VM of the problem must be in it."""
    rooms = {room.host: room for room in _rooms(problem)}
    for group in _in_order(problem):
        chosen = {hosts[name] for name in group.members}
        if len(chosen) > 1:
            raise InvalidInput(f"VMs that belong together are on different hosts: {compress(group.members)}")
        host = chosen.pop()
        if group.host not in ("", host):
            raise InvalidInput(f"{compress(group.members)} must be on {group.host}, not on {host}")
        if host not in rooms:
            raise NotFound(f"VM scheduled on unknown host: `{host}`", hint=f"of VMs {compress(group.members)}")
        _take(rooms[host], group)


@dataclass(frozen=True)
class HostView:
    """How a host looked when a VM was placed: its load and number of VMs before, and what became of it."""

    host: str
    load: str
    vms: int
    verdict: str


@dataclass(frozen=True)
class Explanation:
    """Why a VM is where it is: the VMs that had to go with it, how it was chosen, and every host as it looked then."""

    vm: str
    host: str
    together: tuple[str, ...]
    reason: str
    hosts: tuple[HostView, ...]


def explain(problem: Problem, placement: Placement, vm: str) -> Explanation:
    """Repeat a placement made by `place` up to a VM, and say how it looked. Raises NotFound for a VM not in it."""
    groups = _in_order(problem)
    group = next((group for group in groups if vm in group.members), None)
    if group is None:
        raise NotFound(f"vm not found: {vm}", hint="it was not part of this schedule")
    rooms = _assign(problem, groups, packed=placement.packed, until=group).rooms
    host = placement.hosts[vm]
    load = load_of(problem.load)
    ranked = sorted(rooms, key=lambda room: room.rank if placement.packed else (load(room), room.rank))
    views = tuple(
        HostView(room.host, f"{load(room):.3f}", room.vms, _verdict(room, group, host, packed=placement.packed))
        for room in ranked
    )
    together = tuple(name for name in group.members if name != vm)
    if vm in placement.moved:
        reason = "`ns schedule mv` put it there; below is how the hosts looked when it was placed"
    else:
        reason = _reason(group, problem.load, packed=placement.packed)
    return Explanation(vm, host, together, reason, views)


def _verdict(room: Room, group: Group, chosen: str, *, packed: bool) -> str:
    if room.host == chosen:
        return "chosen"
    refusal = room.refusal(group)
    if refusal:
        return f"refused: {refusal}"
    if group.host:
        return "not asked for"
    return "later by name" if packed else "more loaded, or equally loaded and later by name"


def _reason(group: Group, load: LoadFunction, *, packed: bool) -> str:
    if group.host:
        return f"it, or a VM it is colocated with, belongs on {group.host}"
    if packed:
        return "spreading left no room, so VMs were packed: the first host by name that may take it"
    return f"the least loaded host by {load.value} that may take it, the first by name of equals"


# ---- inside


@dataclass(frozen=True)
class _Outcome:
    hosts: dict[str, str]
    rooms: Sequence[Room]


def _in_order(problem: Problem) -> list[Group]:
    """The groups in the order they are placed; those that fit the same hosts stand together."""
    return sorted(
        group_demands(problem),  # by name; sorting keeps that order among equals
        key=lambda group: (
            not group.host,
            group.limit,
            -group.size,
            -_weight(group, problem.load),
            -group.vcpus,
            -group.memory_mib,
            -group.nics,
        ),
    )


def _weight(group: Group, load: LoadFunction) -> int:
    match load:
        case LoadFunction.CPU:
            return group.vcpus
        case LoadFunction.NETWORK:
            return group.nics
        case LoadFunction.MEMORY:
            return group.memory_mib
        case _:
            assert_never(load)


def _rooms(problem: Problem) -> list[Room]:
    if not problem.hosts:
        raise InvalidState("namespace must contain at least one host to launch VMs", hint="ns add-hosts")
    ordered = sorted(problem.hosts, key=lambda capacity: natural(capacity.host))
    return [Room(capacity, problem.caps, rank) for rank, capacity in enumerate(ordered)]


def _take(room: Room, group: Group) -> None:
    if not room.fits(group):
        raise NoRoom(f'host "{room.host}" cannot take {compress(group.members)}: {room.refusal(group)}')
    room.take(group)


def _assign(problem: Problem, groups: Sequence[Group], *, packed: bool, until: Group | None = None) -> _Outcome:
    """Place the groups in order, all of them or those before `until`."""
    rooms = _rooms(problem)
    by_name = {room.host: room for room in rooms}
    hosts: dict[str, str] = {}
    fixed = sum(1 for group in groups if group.host)
    for group in groups[:fixed]:
        if group is until:
            return _Outcome(hosts, rooms)
        _take(by_name[group.host], group)
        hosts.update(dict.fromkeys(group.members, group.host))
    _check_sums(rooms, groups[fixed:])
    choice = Choice(rooms, groups[fixed:], (lambda _: 0.0) if packed else load_of(problem.load))
    for group in groups[fixed:]:
        if group is until:
            break
        room = choice.take(group)
        if room is None:
            raise _no_room(rooms, group)
        for name in group.members:
            hosts[name] = room.host
    return _Outcome(hosts, rooms)


def _check_sums(rooms: Sequence[Room], groups: Sequence[Group]) -> None:
    """What is wanted in all is no more than what may be promised in all. Raises NoRoom."""
    wanted_vcpus, wanted_mib = sum(group.vcpus for group in groups), sum(group.memory_mib for group in groups)
    for what, wanted, left in (
        ("virtual CPUs", wanted_vcpus, sum(room.vcpus_left for room in rooms)),
        ("MiB of memory", wanted_mib, sum(room.memory_left_mib for room in rooms)),
    ):
        if wanted > left:
            count = sum(group.size for group in groups)
            raise NoRoom(
                f"{count} VMs need {wanted} {what}, and {len(rooms)} hosts may promise no more than {left}",
                hint="ns caps, ns hosts",
            )


def _no_room(rooms: Sequence[Room], group: Group) -> NoRoom:
    lines = [f"{room.host}: {room.refusal(group)}" for room in rooms[:_SHOWN]]
    if len(rooms) > _SHOWN:
        lines.append(f"and {len(rooms) - _SHOWN} more hosts")
    return NoRoom("\n".join([f"no host has room for {compress(group.members)}", *lines]), hint="ns caps, ns hosts")
