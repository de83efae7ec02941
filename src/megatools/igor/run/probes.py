"""Which nodes are up: asked of the network within a time limit; `api` calls it and keeps what it says in the store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from megatools.hostkit import liveness
from megatools.hostkit.hostnames import HostNames
from megatools.igor.model.config import Config
from megatools.igor.model.host import Host

_NAMES_SHARE = 0.25


def is_stale(known: Mapping[int, tuple[bool, int]], config: Config, now_s: int) -> bool:
    """Whether what the store knows (`Store.probes`) is too old, or from another time than ours, to be shown."""
    if not config.probes.enabled or config.probes.budget_s <= 0:
        return False
    newest = max((at_s for _, at_s in known.values()), default=0)
    return not 0 <= now_s - newest <= config.probes.max_age_s


def probe(numbers: Iterable[int], hosts: Mapping[int, Host], config: Config) -> dict[int, bool]:
    """Whether each node answered; never takes longer than the configured budget (and a moment).

    A node whose name has no address cannot answer. Names take at most a quarter of the time.
    """
    budget_s = config.probes.budget_s
    if not config.probes.enabled or budget_s <= 0:
        return {}
    deadline = time.monotonic() + budget_s
    addresses = _addresses(numbers, hosts, config, budget_s * _NAMES_SHARE)
    alive = liveness.answering(
        (address for address in addresses.values() if address),
        port=config.probes.port,
        budget_s=max(0.0, deadline - time.monotonic()),
        parallel=config.probes.parallel,
    )
    return {number: address in alive for number, address in addresses.items()}


def _addresses(numbers: Iterable[int], hosts: Mapping[int, Host], config: Config, timeout_s: float) -> dict[int, str]:
    found = {number: hosts[number].ip if number in hosts else "" for number in numbers}
    suffix = f".{config.domain}" if config.domain else ""
    names = {number: config.cluster.name(number) + suffix for number, address in found.items() if not address}
    resolved = HostNames().addresses(names.values(), timeout_s=timeout_s) if names else {}
    found.update((number, resolved.get(name, "")) for number, name in names.items())
    return found
