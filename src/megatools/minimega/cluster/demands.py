"""What placing VMs works on: hosts with what they have and have promised, VMs with what they need. Pure.

VMs that must share a host (`colocate`, over any number of steps) form one group; everything after that deals in groups.
Used by `placement`; made by `schedule`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from megatools.hostkit.errors import InvalidInput, NotFound, Unavailable
from megatools.hostkit.ranges import compress
from megatools.minimega.namespace.policy import LoadFunction
from megatools.minimega.vm.rooms import ANY, NO_CAPS, Capacity, Caps

_DIGITS = re.compile(r"([0-9]+)")


class Demand(msgspec.Struct, frozen=True):
    """A VM to be placed: its name, what it needs, and the three constraints of its configuration."""

    name: str
    vcpus: int = 1
    memory_mib: int = 2048
    nics: int = 0
    schedule: str = ""
    colocate: str = ""
    coschedule: int = -1


@dataclass(frozen=True)
class Problem:
    """Everything a placement depends on, so that it can be repeated and explained.

    `homes` are the hosts of VMs that exist already, by name, as far as `colocate` names them; `away` are hosts of the
    namespace that did not answer and get nothing.
    """

    hosts: tuple[Capacity, ...]
    demands: tuple[Demand, ...]
    load: LoadFunction = LoadFunction.CPU
    caps: Caps = NO_CAPS
    homes: Mapping[str, str] = field(default_factory=dict[str, str])
    away: frozenset[str] = frozenset()


class Group(msgspec.Struct, frozen=True):
    """VMs for one host: their names in order, the host if it is given, their sums, and how many VMs may be with them.

    `limit` counts all VMs of the host, the group included.
    """

    members: tuple[str, ...]
    host: str
    limit: int
    size: int
    vcpus: int
    memory_mib: int
    nics: int

    @property
    def needs(self) -> tuple[int, int, int, int, int]:
        """Groups of equal needs fit the same hosts."""
        return (self.limit, self.size, self.vcpus, self.memory_mib, self.nics)


def natural(name: str) -> tuple[str | int, ...]:
    """A key that sorts `vm-2` before `vm-10`."""
    return tuple(int(part) if at % 2 else part for at, part in enumerate(_DIGITS.split(name)))


def group_demands(problem: Problem) -> list[Group]:
    """The groups, in order of their first members.

    Raises NotFound (host or anchor that does not exist), Unavailable (host away) or InvalidInput (contradictions).
    """
    demands = {demand.name: demand for demand in problem.demands}
    _check_hosts(problem)
    lone, linked = _linked(problem, demands)
    groups = [_alone(demand) for demand in lone]
    groups += [_group(members, problem) for members in linked]
    return sorted(groups, key=lambda group: natural(group.members[0]))


def _check_hosts(problem: Problem) -> None:
    """Every host VMs are to run on is there."""
    present = {capacity.host for capacity in problem.hosts}
    wanted: dict[str, list[str]] = {}
    for demand in problem.demands:
        if demand.schedule and demand.schedule not in present:
            wanted.setdefault(demand.schedule, []).append(demand.name)
    for host in sorted(wanted, key=natural):
        names = compress(wanted[host])
        if host in problem.away:
            raise Unavailable(f'host "{host}" is away, and VMs are to run there: {names}', hint="vm config schedule")
        raise NotFound(
            f"VM scheduled on unknown host: `{host}`",
            hint=f"of VMs {names}; the hosts are {compress(present) or 'none'} (ns hosts)",
        )


def _linked(problem: Problem, demands: Mapping[str, Demand]) -> tuple[list[Demand], list[list[Demand]]]:
    """The demands that stand alone, and those linked by `colocate` (also through an existing VM of one name)."""
    missing = {
        demand.colocate
        for demand in problem.demands
        if demand.colocate and demand.colocate not in demands and demand.colocate not in problem.homes
    }
    if missing:
        users = compress(demand.name for demand in problem.demands if demand.colocate in missing)
        raise NotFound(
            f"nonexistent colocate VMs: [{', '.join(sorted(missing, key=natural))}]",
            hint=f"named by {users}; they are neither queued nor on a host that answers",
        )
    leader: dict[str, str] = {}
    for demand in problem.demands:
        if demand.colocate:
            leader[_find(leader, demand.name)] = _find(leader, demand.colocate)
    sets: dict[str, list[Demand]] = {}
    lone: list[Demand] = []
    for demand in problem.demands:
        if demand.name in leader:
            sets.setdefault(_find(leader, demand.name), []).append(demand)
        else:
            lone.append(demand)
    return lone, list(sets.values())


def _find(leader: dict[str, str], name: str) -> str:
    """The leader of a name's set (union-find with path halving)."""
    leader.setdefault(name, name)
    while leader[name] != name:
        leader[name] = leader[leader[name]]
        name = leader[name]
    return name


def _alone(demand: Demand) -> Group:
    limit = ANY if demand.coschedule < 0 else demand.coschedule + 1
    return Group((demand.name,), demand.schedule, limit, 1, demand.vcpus, demand.memory_mib, demand.nics)


def _group(members: Sequence[Demand], problem: Problem) -> Group:
    host = _host_of(members, problem)
    limited = [demand.coschedule + 1 for demand in members if demand.coschedule >= 0]
    group = Group(
        members=tuple(sorted((demand.name for demand in members), key=natural)),
        host=host,
        limit=min(limited, default=ANY),
        size=len(members),
        vcpus=sum(demand.vcpus for demand in members),
        memory_mib=sum(demand.memory_mib for demand in members),
        nics=sum(demand.nics for demand in members),
    )
    if group.size > group.limit:
        raise InvalidInput(
            f"{group.size} VMs are colocated, too many for coschedule requirement of {group.limit - 1}",
            hint=f"they are {compress(group.members)}",
        )
    return group


def _host_of(members: Iterable[Demand], problem: Problem) -> str:
    """The one host a group's members name; empty when they name none. Raises InvalidInput for several."""
    named: dict[str, str] = {}
    for demand in members:
        if demand.schedule:
            named.setdefault(demand.schedule, demand.name)
        if demand.colocate in problem.homes:
            named.setdefault(problem.homes[demand.colocate], demand.colocate)
    if len(named) > 1:
        where = ", ".join(f"{vm} on {host}" for host, vm in sorted(named.items()))
        raise InvalidInput(f"VMs that belong together are to run on different hosts: {where}")
    return next(iter(named), "")
