"""Figures for Prometheus, made anew at each scrape; pure but for the clock of the overview it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from megatools.igor.api.requests import Overview, StatsTable
from megatools.igor.model import nodes
from megatools.igor.model.reservation import Reservation, State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("planned", "waiting", "active", "expired")


def exposition(overview: Overview, stats: StatsTable) -> bytes:
    """The figures in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(overview, stats))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, overview: Overview, stats: StatsTable) -> None:
        self._overview = overview
        self._stats = stats

    def collect(self) -> Iterable[Metric]:
        yield self._nodes()
        yield self._reservations()
        yield self._owners()
        yield self._used()
        share = GaugeMetricFamily("igor_busy_ratio", "Share of the cluster that was reserved in the last days")
        share.add_metric([], self._stats.busy_share)
        yield share
        probed = GaugeMetricFamily("igor_last_probe_timestamp_seconds", "When nodes were last asked whether they live")
        probed.add_metric([], self._overview.probed_s)
        yield probed

    def _nodes(self) -> Metric:
        overview = self._overview
        held = _held(one for one in overview.reservations if one.state is State.ACTIVE)
        blocked = {host.number for host in overview.blocked}
        down = set(nodes.from_text(overview.down))
        everything = set(overview.cluster.everything())
        metric = GaugeMetricFamily("igor_nodes", "Nodes of the cluster, by how they are", labels=["is"])
        for word, chosen in (
            ("known", everything),
            ("reserved", held),
            ("blocked", blocked),
            ("down", down),
            ("free", everything - held - blocked),
        ):
            metric.add_metric([word], len(chosen))
        return metric

    def _reservations(self) -> Metric:
        counts = Counter(state_of(one, self._overview.now_s) for one in self._overview.reservations)
        metric = GaugeMetricFamily("igor_reservations", "Reservations that are not ended, by state", labels=["state"])
        for state in STATES:
            metric.add_metric([state], counts[state])
        return metric

    def _owners(self) -> Metric:
        held: Counter[str] = Counter()
        for one in self._overview.reservations:
            if one.state is State.ACTIVE:
                held[one.owner] += len(one.nodes)
        metric = GaugeMetricFamily("igor_reserved_nodes", "Nodes reserved now, by owner", labels=["owner"])
        for owner, count in sorted(held.items()):
            metric.add_metric([owner], count)
        return metric

    def _used(self) -> Metric:
        text = f"Node-hours used in the last {self._stats.days} days, by owner"
        metric = GaugeMetricFamily("igor_node_hours", text, labels=["owner"])
        for row in self._stats.rows:
            if row.owner != "*":
                metric.add_metric([row.owner], row.node_hours)
        return metric


def _held(reservations: Iterable[Reservation]) -> set[int]:
    chosen: set[int] = set()
    for one in reservations:
        chosen.update(one.nodes)
    return chosen


def state_of(one: Reservation, now_s: int) -> str:
    """A reservation's state in one of the words of STATES, or `ended`."""
    if one.expired(now_s):
        return "expired"
    return "waiting" if one.waiting and one.state is State.PLANNED else one.state.value
