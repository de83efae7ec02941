"""Answers that change nothing: Show, GetHosts, GetProfiles, Stats. Used by `api.engine`."""

from __future__ import annotations

from collections.abc import Mapping

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.files import Lock
from megatools.igor.api.context import Context
from megatools.igor.api.requests import (
    GetHosts,
    HostList,
    Overview,
    ProfileList,
    ProfileRow,
    Show,
    Stats,
    StatsRow,
    StatsTable,
)
from megatools.igor.model import nodes
from megatools.igor.model.config import Config
from megatools.igor.model.host import Host

MAX_DAYS = 3660


def show(context: Context, request: Show) -> Overview:
    """What is reserved and how the nodes are, as far as the store knows."""
    store = context.store
    found = [store.named(request.name)] if request.name else store.live()
    if request.past > 0:
        found += store.past(request.past)
    probes = probed(context)
    return Overview(
        cluster=context.cluster,
        now_s=context.now_s,
        asker=context.person.name,
        reservations=tuple(found),
        blocked=tuple(host for host in store.hosts().values() if host.blocked),
        down=nodes.of(number for number, (up, _) in probes.items() if not up).text(),
        probed_s=max((at_s for _, at_s in probes.values()), default=0),
        pause=context.config.pause,
        groups=tuple(sorted(context.person.groups)),
    )


def probed(context: Context) -> dict[int, tuple[bool, int]]:
    """Whether nodes are up, asked of the network when what is known is too old: by one at a time, within a second."""
    store, config = context.store, context.config
    known = store.probes()
    if not is_stale(known, config, context.now_s):
        return known
    lock = Lock(store.directory / "probe.lock")
    if not lock.acquire():
        return known  # somebody is asking right now
    try:
        from megatools.igor.run.probes import probe

        found = probe(context.cluster.everything(), store.hosts(), config)
        store.record_probes(found, context.now_s)
    finally:
        lock.release()
    return {number: (up, context.now_s) for number, up in found.items()}


def is_stale(known: Mapping[int, tuple[bool, int]], config: Config, now_s: int) -> bool:
    """Whether what is known of nodes is too old, or from another time than ours, to be shown."""
    if not config.probes.enabled or config.probes.budget_s <= 0:
        return False
    newest = max((at_s for _, at_s in known.values()), default=0)
    return not 0 <= now_s - newest <= config.probes.max_age_s


def get_hosts(context: Context, request: GetHosts) -> HostList:
    """What is known of nodes; of a node of which nothing is known, its name."""
    cluster, known = context.cluster, context.store.hosts()
    wanted = cluster.parse(request.nodes) if request.nodes else cluster.everything()
    return HostList(tuple(known.get(number) or Host(number, cluster.name(number)) for number in wanted))


def get_profiles(context: Context) -> ProfileList:
    """The profiles the asker may use."""
    return ProfileList(
        tuple(
            ProfileRow(one.name, one.owner, one.kernel, one.initrd, one.args, one.public)
            for one in context.store.profiles().values()
            if one.public or one.owner == context.person.name or context.person.admin
        )
    )


def stats(context: Context, request: Stats) -> StatsTable:
    """Who used how much of the cluster in the last days."""
    if not 1 <= request.days <= MAX_DAYS:
        raise InvalidInput(f"statistics cover 1 to {MAX_DAYS} days, {request.days} were asked for")
    since_s = context.now_s - request.days * 86400
    counts: dict[str, int] = {}
    node_s: dict[str, int] = {}
    for owner, size, length_s in context.store.used(since_s, context.now_s):
        for key in (owner, "*"):
            counts[key] = counts.get(key, 0) + 1
            node_s[key] = node_s.get(key, 0) + size * length_s
    table = [StatsRow(owner, counts[owner], round(node_s[owner] / 3600, 2)) for owner in counts]
    table.sort(key=lambda row: (row.owner == "*", -row.node_hours, row.owner))
    capacity = request.days * 86400 * len(context.cluster)
    return StatsTable(request.days, tuple(table), round(node_s.get("*", 0) / capacity, 4))
