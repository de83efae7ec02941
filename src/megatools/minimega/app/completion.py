"""What may stand for an argument: the completion sources commands name in `suggest=`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from megatools.hostkit.qemu import probe
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.call import Suggester
from megatools.minimega.namespace.namespaces import Namespaces
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.vm.config import DEFAULT_BRIDGE
from megatools.minimega.vm.fleet import Fleet

_Source: TypeAlias = Callable[[Cmd], Iterable[str]]


def suggesters(fleet: Fleet, stack: NetworkStack, namespaces: Namespaces) -> Mapping[str, Suggester[Services]]:
    """A function per completion source: the call and the prefix typed so far to candidates."""
    sources: dict[str, _Source] = {
        "vm": lambda call: [*fleet.names(call.namespace), "all"],
        "namespace": lambda _: [*namespaces.names(), "all"],
        "config": lambda call: namespaces.get(call.namespace).saved_names(),
        "vlan": lambda call: stack.vlans.names(call.namespace),
        "bridge": lambda _: sorted(
            {*stack.network.bridges_in_use(), *stack.host_taps.bridges_in_use(), DEFAULT_BRIDGE}
        ),
        "tap": lambda call: [*(record.name for record in stack.host_taps.of(call.namespace)), "all"],
        "dnsmasq": lambda call: [*stack.dhcp.ids(call.namespace), "all"],
        "host": lambda call: [*call.services.mesh.names(), "localhost", "all"],
    }
    found: dict[str, Suggester[Services]] = {name: _prefixed(source) for name, source in sources.items()}
    for name in ("cpus", "machines", "nic_drivers"):
        found[name.removesuffix("s")] = _qemu(name)
    return found


def _prefixed(source: _Source) -> Suggester[Services]:
    def suggest(call: Cmd, prefix: str) -> list[str]:
        return [name for name in source(call) if name.startswith(prefix)]

    return suggest


def _qemu(field: str) -> Suggester[Services]:
    async def suggest(_call: Cmd, prefix: str) -> list[str]:
        names: frozenset[str] = getattr(await probe.facts_or_fallback(), field)
        return [name for name in names if name.startswith(prefix)]

    return suggest
