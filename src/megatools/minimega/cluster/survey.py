"""What the hosts of a namespace have and run, asked of all at once before VMs are placed or a host is taken out.

A host that does not answer gets no VMs: it is `away`, with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import msgspec

from megatools.minimega.cluster.hosts import Hosts
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Handlers, Operation, Request
from megatools.minimega.vm.rooms import Capacity


class HostLoad(Operation, frozen=True):
    """Tell what this host has, has promised, and which VMs of the namespace it has: a `HostReport` in `data`."""

    reads: ClassVar[bool] = True


class HostReport(msgspec.Struct, frozen=True):
    """A host's answer; `vms` are the names by UUID of the namespace's VMs, dead ones and those being launched too."""

    capacity: Capacity
    vms: dict[str, str]


@dataclass(frozen=True)
class Survey:
    """The hosts that answered, and why the others did not, both by name."""

    reports: Mapping[str, HostReport]
    away: Mapping[str, str]

    def capacities(self) -> tuple[Capacity, ...]:
        """The hosts that answered; each goes by the name it was asked under."""
        return tuple(
            msgspec.structs.replace(report.capacity, host=host) for host, report in sorted(self.reports.items())
        )

    def homes(self, ignored: Collection[str] = ()) -> dict[str, str]:
        """The host of every VM by name, but for UUIDs to be ignored."""
        return {
            name: host
            for host, report in self.reports.items()
            for uuid, name in report.vms.items()
            if uuid not in ignored
        }

    def uuids(self) -> set[str]:
        """The UUIDs of all VMs."""
        return {uuid for report in self.reports.values() for uuid in report.vms}


async def survey(hosts: Hosts, namespace: str, names: Sequence[str]) -> Survey:
    """Ask hosts, all at once."""
    reports: dict[str, HostReport] = {}
    away: dict[str, str] = {}
    for result in await hosts.run(Request(namespace, HostLoad(), tuple(names))) if names else []:
        if result.answer is None or result.answer.data is None:
            away[result.host] = result.error or result.outcome.value
        else:
            reports[result.host] = msgspec.json.decode(result.answer.data, type=HostReport)
    return Survey(reports, away)


class Residents(Protocol):
    """The VMs of this host."""

    def capacity(self) -> Capacity:
        """What this host has, and has promised to its VMs."""
        ...

    def residents(self, namespace: str) -> dict[str, str]:
        """The names by UUID of the VMs of a namespace, those being launched included."""
        ...


def handlers(residents: Residents) -> Handlers:
    """The function that answers on this host."""

    async def load(namespace: str, _asked: HostLoad) -> Answer:
        report = HostReport(residents.capacity(), residents.residents(namespace))
        return Answer(data=msgspec.Raw(msgspec.json.encode(report)))

    return {HostLoad: load}
