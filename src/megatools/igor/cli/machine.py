"""What `-json` prints: plain names and times, the same for every reader; pure."""

from __future__ import annotations

import msgspec

from megatools.igor.api.requests import Overview
from megatools.igor.model.cluster import Cluster
from megatools.igor.model.nodes import from_text
from megatools.igor.model.reservation import Reservation


class ReservationView(msgspec.Struct, frozen=True):
    """A reservation for programs: names of nodes as a range, times in seconds since 1970."""

    id: int
    name: str
    owner: str
    group: str
    state: str
    kind: str
    waiting: bool
    expired: bool
    start: int
    end: int
    size: int
    nodes: str
    hosts: tuple[str, ...]
    aliases: dict[str, str]
    kernel: str
    initrd: str
    args: str
    profile: str
    vlan: int
    note: str


class OverviewView(msgspec.Struct, frozen=True):
    """Everything `igor show` knows."""

    now: int
    cluster: Cluster
    down: tuple[str, ...]
    blocked: dict[str, str]
    reservations: tuple[ReservationView, ...]


def reservation_view(one: Reservation, cluster: Cluster, now_s: int) -> ReservationView:
    """A reservation for programs."""
    hosts = tuple(cluster.names(one.nodes))
    return ReservationView(
        id=one.id,
        name=one.name,
        owner=one.owner,
        group=one.group,
        state=one.state.value,
        kind=one.kind.value,
        waiting=one.waiting,
        expired=one.expired(now_s),
        start=one.start_s,
        end=one.end_s,
        size=len(one.nodes),
        nodes=cluster.written(one.nodes),
        hosts=hosts,
        aliases=aliases(one, cluster),
        kernel=one.kernel,
        initrd=one.initrd,
        args=one.details.args,
        profile=one.details.profile,
        vlan=one.vlan,
        note=one.details.note,
    )


def aliases(one: Reservation, cluster: Cluster) -> dict[str, str]:
    """The stable names of a reservation's nodes: `testing.0` is the first, whatever comes and goes."""
    return {f"{one.name}.{at}": cluster.name(number) for at, number in enumerate(one.order) if number in one.nodes}


def overview_view(overview: Overview) -> OverviewView:
    """An overview for programs."""
    cluster = overview.cluster
    return OverviewView(
        now=overview.now_s,
        cluster=cluster,
        down=tuple(cluster.names(from_text(overview.down))),
        blocked={host.name: host.blocked for host in overview.blocked},
        reservations=tuple(reservation_view(one, cluster, overview.now_s) for one in overview.reservations),
    )


def overview_json(overview: Overview) -> str:
    """The same as a line of JSON."""
    return msgspec.json.encode(overview_view(overview)).decode()
