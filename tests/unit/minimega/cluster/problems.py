"""Small placement problems for tests, and a check of a placement that shares nothing with the code under test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from megatools.minimega.cluster.demands import Demand, Problem
from megatools.minimega.namespace.policy import LoadFunction
from megatools.minimega.vm.rooms import Capacity, Caps, Commitments


def violations(problem: Problem, hosts: Mapping[str, str]) -> list[str]:
    """What is wrong with a placement: every rule of B.12 and D.11, checked from scratch."""
    found: list[str] = []
    demands = {demand.name: demand for demand in problem.demands}
    if set(hosts) != set(demands):
        found.append("not every VM has a host")
    for demand in problem.demands:
        if demand.schedule and hosts[demand.name] != demand.schedule:
            found.append(f"{demand.name} is not on {demand.schedule}")
        if demand.colocate:
            anchor = hosts.get(demand.colocate) or problem.homes[demand.colocate]
            if anchor != hosts[demand.name]:
                found.append(f"{demand.name} is not with {demand.colocate}")
    for host in problem.hosts:
        here = [demands[name] for name, where in hosts.items() if where == host.host]
        if here:
            found += _excesses(problem, host, here)
    return found


def _excesses(problem: Problem, host: Capacity, here: Sequence[Demand]) -> list[str]:
    found: list[str] = []
    total = host.promised.vms + len(here)
    tolerated = [demand.coschedule for demand in here if demand.coschedule >= 0]
    if any(total - 1 > others for others in tolerated):
        found.append(f"{host.host} is too crowded for those placed")
    if host.promised.vm_limit >= 0 and total > host.promised.vm_limit:
        found.append(f"{host.host} is too crowded for those there")
    vcpus = host.promised.vcpus + sum(demand.vcpus for demand in here)
    promised_mib = host.promised.memory_mib + sum(demand.memory_mib for demand in here)
    for caps in (problem.caps, host.caps):
        if caps.cpu and vcpus > host.cpus * caps.cpu:
            found.append(f"{host.host} promises too many CPUs")
        if caps.memory and promised_mib > host.memory_mib * caps.memory:
            found.append(f"{host.host} promises too much memory")
    return found


_caps = st.builds(Caps, cpu=st.sampled_from([0.0, 0.5, 1.0, 2.0]), memory=st.sampled_from([0.0, 0.5, 1.0]))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Problems of a few hosts and VMs, many of them impossible."""
    names = [f"kn{number}" for number in range(1, draw(st.integers(1, 4)) + 1)]
    hosts = tuple(
        Capacity(
            name,
            cpus=draw(st.integers(1, 8)),
            memory_mib=draw(st.integers(1, 8)) * 1024,
            promised=Commitments(
                vms=draw(st.integers(0, 2)),
                vcpus=draw(st.integers(0, 3)),
                memory_mib=draw(st.integers(0, 3)) * 512,
                nics=draw(st.integers(0, 3)),
                vm_limit=draw(st.sampled_from([-1, -1, -1, 2, 4])),
            ),
            caps=draw(_caps),
        )
        for name in names
    )
    count = draw(st.integers(0, 8))
    vms = [f"vm-{number}" for number in range(count)]
    demands = tuple(
        Demand(
            name,
            vcpus=draw(st.integers(1, 3)),
            memory_mib=draw(st.integers(1, 4)) * 512,
            nics=draw(st.integers(0, 2)),
            schedule=draw(st.sampled_from(["", "", "", *names])),
            colocate=draw(st.sampled_from(["", "", "", "old", *vms])),
            coschedule=draw(st.sampled_from([-1, -1, -1, 0, 1, 3])),
        )
        for name in vms
    )
    return Problem(
        hosts, demands, draw(st.sampled_from(LoadFunction)), draw(_caps), {"old": draw(st.sampled_from(names))}
    )
