"""Limits and rights. Pure: raises the refusal, or returns."""

from __future__ import annotations

import math
from collections.abc import Iterable

from megatools.hostkit.errors import PermissionDenied
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.config import Limits, Policy
from megatools.igor.model.nodes import NodeSet
from megatools.igor.model.person import Person
from megatools.igor.model.reservation import Reservation

_HOUR_S = 3600


def limits_of(policy: Policy, person: Person) -> Limits:
    """The limits in force for a person: their own, else the most generous of their groups', else everybody's."""
    if person.admin:
        return Limits()
    if person.name in policy.people:
        return policy.people[person.name]
    groups = [policy.groups[name] for name in sorted(person.groups) if name in policy.groups]
    if not groups:
        return policy.limits
    return Limits(
        nodes=_widest(one.nodes for one in groups),
        duration_s=_widest(one.duration_s for one in groups),
        scaled=all(one.scaled for one in groups),
        reservations=_widest(one.reservations for one in groups),
        total_nodes=_widest(one.total_nodes for one in groups),
        node_hours=max(one.node_hours for one in groups) if all(one.node_hours for one in groups) else 0.0,
        horizon_s=_widest(one.horizon_s for one in groups),
        extend_within_s=_widest(one.extend_within_s for one in groups),
    )


def _widest(values: Iterable[int]) -> int:
    known = list(values)
    return max(known) if all(known) else 0


def longest_s(limits: Limits, count: int) -> int:
    """How long a reservation of so many nodes may last; 0: as long as it likes."""
    if limits.scaled and count > 1 and limits.duration_s:
        return int(limits.duration_s / max(math.log2(count), 1.0))
    return limits.duration_s


def check_size(limits: Limits, count: int, duration_s: int, ahead_s: int) -> None:
    """Whether one reservation may be so large, so long and so far ahead; raises PermissionDenied."""
    if limits.nodes and count > limits.nodes:
        raise PermissionDenied(f"a reservation may have at most {limits.nodes} nodes, this one has {count}")
    longest = longest_s(limits, count)
    if longest and duration_s > longest:
        raise PermissionDenied(
            f"a reservation of {count} nodes may last at most {hours(longest)}, this one lasts {hours(duration_s)}",
            hint=f"-t {longest // 60}m fits",
        )
    if limits.horizon_s and ahead_s > limits.horizon_s:
        raise PermissionDenied(
            f"a reservation may start at most {hours(limits.horizon_s)} ahead, this one starts {hours(ahead_s)} ahead"
        )


def check_total(limits: Limits, owned: Iterable[Reservation], added: Iterable[tuple[int, int]], now_s: int) -> None:
    """Whether a person may hold these (nodes, duration_s) besides what they own; raises PermissionDenied."""
    more = list(added)
    live = [one for one in owned if one.end_s > now_s]
    number = len(live) + len(more)
    if limits.reservations and number > limits.reservations:
        raise PermissionDenied(
            f"you may have at most {limits.reservations} reservations at a time, this makes {number}"
        )
    total = sum(len(one.nodes) for one in live) + sum(count for count, _ in more)
    if limits.total_nodes and total > limits.total_nodes:
        raise PermissionDenied(f"you may hold at most {limits.total_nodes} nodes in all, this makes {total}")
    ahead = sum(len(one.nodes) * (one.end_s - max(one.start_s, now_s)) for one in live)
    node_hours = (ahead + sum(count * duration_s for count, duration_s in more)) / _HOUR_S
    if limits.node_hours and node_hours > limits.node_hours:
        raise PermissionDenied(
            f"you may hold at most {limits.node_hours:g} node-hours ahead, this makes {node_hours:.1f}"
        )


def check_extension(limits: Limits, reservation: Reservation, now_s: int) -> None:
    """Whether it is time to extend; raises PermissionDenied."""
    left_s = reservation.end_s - now_s
    if limits.extend_within_s and left_s > limits.extend_within_s:
        raise PermissionDenied(
            f'"{reservation.name}" may be extended in its last {hours(limits.extend_within_s)} only, '
            f"it has {hours(left_s)} left"
        )


def closed_to(policy: Policy, person: Person, cluster: Cluster) -> NodeSet:
    """The nodes that the policy keeps for groups this person is in none of."""
    closed = NodeSet()
    if person.admin:
        return closed
    for written, groups in policy.nodes.items():
        if not person.groups & set(groups):
            closed = closed | cluster.parse(written)
    return closed


def may_write(reservation: Reservation, person: Person, *, good_faith: bool, now_s: int) -> bool:
    """Whether a person may change or end a reservation; an expired one is fair game for anybody to end."""
    mine = person.admin or reservation.owner == person.name
    shared = bool(reservation.group) and reservation.group in person.groups
    return mine or shared or good_faith or reservation.expired(now_s)


def check_write(reservation: Reservation, person: Person, *, good_faith: bool) -> None:
    """Whether a person may change a reservation; raises PermissionDenied."""
    if not may_write(reservation, person, good_faith=good_faith, now_s=0):
        raise PermissionDenied(
            f'"{reservation.name}" belongs to "{reservation.owner}"',
            hint="ask the owner, a member of its group, or an administrator",
        )


def check_admin(person: Person, what: str) -> None:
    """Whether a person is an administrator; raises PermissionDenied."""
    if not person.admin:
        raise PermissionDenied(f"only administrators may {what}", hint='"admins" in igor.conf names them')


def hours(seconds: int) -> str:
    """A duration as people say it: `12 h`, `1.5 h`, `20 min`."""
    if seconds < _HOUR_S:
        return f"{seconds / 60:.3g} min"
    return f"{round(seconds / _HOUR_S, 1):g} h"
