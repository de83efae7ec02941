"""Hosts of different hardware, each with a cap of its own: what fits is placed, what does not is refused at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, cluster
from tests.support.daemon import Daemon
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("qemu-system-x86_64", "taskset", "unshare")]

# 1 CPU twice; all CPUs of the machine; a quarter of 1 GiB: room for 2, any number and 4 VMs of 64 MiB.
CAPS = (("-cpu-cap", "2"), (), ("-memory-cap", "0.25"))


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[Cluster]:
    """A host with one CPU, an ordinary one, and one with little memory; namespace `lab` has them all."""
    with cluster(3, flags=["-mesh-open"], flags_of=lambda index: CAPS[index]) as found:
        small, _, poor = found.daemons
        small.prefix = (*small.prefix, "taskset", "--cpu-list", "0")
        lines = Path("/proc/meminfo").read_text().splitlines()
        (tmp_path / "meminfo").write_text("".join(f"{_little(line)}\n" for line in lines))
        script = f'mount --bind {tmp_path}/meminfo /proc/meminfo; exec "$@"'
        poor.prefix = (*poor.prefix, "unshare", "--mount", "sh", "-ec", script, "sh")
        found.start()
        found.wait_for_members()
        small.ask("namespace lab ns add-hosts localhost")
        _wait_for_the_namespace(found)
        for line in ("vm config memory 64", "vm config vga none", "vm config vcpus 1"):
            found.ask_all(line)
            found.ask_all(f"namespace lab {line}")
        yield found


def _wait_for_the_namespace(found: Cluster, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not all("kn[1-3]" in hosts for hosts in found.ask_all("namespace lab ns hosts")):
        assert time.monotonic() < deadline, "namespace lab is not known everywhere"
        time.sleep(0.1)


def _little(line: str) -> str:
    """A line of /proc/meminfo on a host with 1 GiB."""
    return "MemTotal: 1048576 kB" if line.startswith("MemTotal:") else line


def where(daemon: Daemon) -> Counter[str]:
    """How many VMs of `lab` each host has; no host without any."""
    found: Counter[str] = Counter()
    for answer in daemon.answers("namespace lab vm info"):
        table = answer["Tabular"] or []
        assert isinstance(table, list) and not answer["Error"], answer
        found[str(answer["Host"])] += len(table)
    return +found


def test_caps_of_hosts_are_kept_and_what_does_not_fit_starts_nowhere(mixed: Cluster) -> None:
    first, second, third = mixed.daemons
    facts = [daemon.rows(".columns cpus,memtotal host")[0] for daemon in mixed.daemons]
    assert facts[0]["cpus"] == "1" < facts[1]["cpus"]
    assert int(facts[2]["memtotal"].split()[0]) == 1024 < int(facts[1]["memtotal"].split()[0])

    second.ask("namespace lab vm config schedule kn3")
    refused = second.refused("namespace lab vm launch kvm a[1-5]")
    assert "of at most 256 MiB are promised, 64 more are needed" in refused, refused
    assert where(first) == {}
    second.ask("namespace lab vm launch kvm a[1-4]")
    second.ask("namespace lab clear vm config schedule")
    second.ask("namespace lab vm launch kvm b[1-9]")
    found = where(first)
    assert found["kn3"] == 4 and found["kn1"] <= 2 and found.total() == 13, found
    assert "3 virtual CPUs, and 1 hosts may promise no more than" in first.refused("vm launch kvm 3")
    assert "64 MiB of memory, and 1 hosts may promise no more than 0" in third.refused("vm launch kvm 1")
    assert [len(daemon.qemus()) for daemon in mixed.daemons] == [found[name] for name in mixed.names]


def test_caps_of_a_namespace_count_where_they_are_lower(mixed: Cluster) -> None:
    first, second, _ = mixed.daemons
    cpus = int(second.rows(".columns cpus host")[0]["cpus"])
    second.ask("namespace lab ns caps cpu 1")
    room = 1 + cpus + min(4, cpus)
    refused = first.refused(f"namespace lab vm launch kvm {room + 1}")
    words = f"{room + 1} VMs need {room + 1} virtual CPUs, and 3 hosts may promise no more than"
    assert refused.startswith(words), refused
    assert where(second) == {}
    first.ask(f"namespace lab vm launch kvm {room}")
    assert where(second) == {"kn1": 1, "kn2": cpus, "kn3": min(4, cpus)}
