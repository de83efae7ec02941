"""A bridge over the hosts of a namespace: decided once, made by every host, also by those that come later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.cluster import settling
from megatools.minimega.cluster.settling import ADDRESS_KIND, KIND, AddressRecord, JoinRecord
from megatools.minimega.mesh.memory import MemoryNetwork
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.namespace.membership import KIND as SPACE
from megatools.minimega.namespace.membership import SpaceRecord
from megatools.minimega.net.meshes import Want
from tests.unit.minimega.cluster.daemons import Daemon, daemons
from tests.unit.minimega.state.full_disk import full_disk

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def cluster(
    path: Path, *names: str, roles: dict[str, tuple[Role, str]] | None = None
) -> AsyncIterator[tuple[MemoryNetwork, list[Daemon]]]:
    """Daemons whose shared records travel; namespace `lab` has them all."""
    async with daemons(path, *names, roles=roles) as (network, found):
        for daemon in found:
            daemon.agreement.start()
        yield network, found


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def ends(daemon: Daemon, bridge: str = "b") -> tuple[TunnelKind, int, tuple[str, ...]] | None:
    """How a daemon is joined in namespace lab."""
    want = daemon.ways.joined.get(("lab", bridge))
    return (want.kind, want.key, want.remotes) if want is not None else None


def is_mesh(hosts: Sequence[Daemon], bridge: str = "b") -> bool:
    """Whether each host is joined to all the others with one kind and key."""
    all_ends = {daemon.ways.at: ends(daemon, bridge) for daemon in hosts}
    known = [found for found in all_ends.values() if found is not None]
    remotes = [found is not None and set(found[2]) == set(all_ends) - {address} for address, found in all_ends.items()]
    return all(remotes) and len({found[:2] for found in known}) == 1


async def test_hosts_are_joined_when_the_command_returns(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (_, hosts):
        assert await hosts[1].text("ns bridge b", "lab") == ""
        assert is_mesh(hosts)
        before = ends(hosts[0])
        assert before is not None
        assert before[0] is TunnelKind.GRE
        assert 0 < before[1] < 1 << 24
        assert await hosts[2].text("ns bridge b", "lab") == ""  # asked again: nothing changes
        assert ends(hosts[0]) == before
        assert await hosts[0].text("ns bridge b vxlan", "lab") == ""
        assert is_mesh(hosts)
        assert ends(hosts[0]) != before
        assert await hosts[2].text("ns del-bridge b", "lab") == ""
        assert [ends(host) for host in hosts] == [None] * 3
        assert await hosts[2].errors("ns del-bridge b", "lab") == [
            ("kn3", 'bridge "b" does not join the hosts of namespace "lab"')
        ]


async def test_a_namespace_of_one_host_has_nothing_to_join(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2") as (_, hosts):
        assert await hosts[0].text("ns bridge b") == ""
        assert await hosts[0].text("ns del-bridge b") == ""
        assert await hosts[0].text("ns add-hosts localhost", "own") == ""
        assert await hosts[0].text("ns del-hosts kn2", "own") == ""
        assert await hosts[0].text("ns bridge b", "own") == ""
        assert hosts[0].ways.joined == {}
        await hosts[0].text("ns add-hosts kn2", "own")  # from now on there is something to join
        await until(lambda: [bool(host.ways.wants("own")) for host in hosts] == [True, True])
        await hosts[0].text("ns del-hosts kn2", "own")
        await until(lambda: [bool(host.ways.wants("own")) for host in hosts] == [False, False])


async def test_hosts_that_come_later_or_move_are_joined(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (network, hosts):
        await hosts[0].text("ns del-hosts kn3", "lab")
        await hosts[0].text("ns bridge b", "lab")
        assert is_mesh(hosts[:2])
        await hosts[1].text("ns add-hosts kn3", "lab")
        await until(lambda: is_mesh(hosts))
        network.cut("kn1", "kn3")
        network.cut("kn2", "kn3")
        shown = await hosts[0].text("ns bridge c vxlan", "lab")
        assert shown == "kn1: kn3 did not answer: it joins once it is back"
        assert ends(hosts[2], "c") is None
        hosts[2].ways.at = "10.0.0.33"
        await hosts[2].agreement.settling.publish()
        network.heal()
        await until(lambda: is_mesh(hosts, "c") and is_mesh(hosts, "b"))


async def test_a_host_that_cannot_undoes_it_for_all(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (_, hosts):
        hosts[2].ways.broken = True
        ((_, error),) = await hosts[0].errors("ns bridge b", "lab")
        assert error == 'cannot join the hosts of namespace "lab" with bridge "b"'
        shown = await hosts[0].groups("ns bridge b", "lab")
        assert "kn3: this switch is broken" in shown[0][0].error
        assert [ends(host) for host in hosts] == [None] * 3
        hosts[2].ways.broken = False
        assert await hosts[0].errors("ns bridge b", "lab") == []
        before = ends(hosts[0])
        hosts[2].ways.broken = True
        assert await hosts[0].errors("ns bridge b vxlan", "lab") != []
        assert ends(hosts[0]) == before


async def test_the_default_kind_is_what_all_can_make(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (_, hosts):
        hosts[1].ways.kinds = hosts[2].ways.kinds = (TunnelKind.VXLAN,)
        assert await hosts[0].errors("ns bridge b gre", "lab") == [("kn1", "kn[2-3] cannot make gre tunnels")]
        shown = await hosts[0].text("ns bridge b", "lab")
        assert shown == "kn1: joined with vxlan: kn[2-3] cannot make gre tunnels"
        assert is_mesh(hosts)
        assert await hosts[0].text("ns bridge b", "lab") == ""
        hosts[0].ways.kinds = ()
        assert await hosts[0].errors("ns bridge c", "lab") == [("kn1", "kn[1-3] cannot make gre tunnels")]


async def test_loops_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (_, hosts):
        hosts[0].ways.trunks = ("eth1",)
        assert await hosts[0].errors("ns bridge b", "lab") == []  # a single trunk leads out of the cluster
        await hosts[0].text("ns del-bridge b", "lab")
        hosts[2].ways.trunks = ("eth1",)
        ((_, error),) = await hosts[0].errors("ns bridge b", "lab")
        assert error == 'bridge "b" has trunks on kn[1,3]; tunnels between them as well would be a loop'
        hosts[2].ways.trunks = ()
        hosts[2].ways.singles = ("10.0.0.2", "10.9.9.9")
        assert await hosts[0].errors("ns bridge b", "lab") == [("kn1", 'bridge "b" of kn3 has a tunnel to kn2 already')]
        assert await hosts[0].errors("ns bridge in.valid/name", "lab") != []
        hosts[2].ways.at = ""
        assert await hosts[0].errors("ns bridge b", "lab") == [("kn1", "kn3 has no address for tunnels")]
        assert [ends(host) for host in hosts] == [None] * 3


async def test_a_namespace_that_ends_takes_its_bridges_along(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (_, hosts):
        await hosts[0].text("ns bridge b", "lab")
        assert await hosts[0].errors("clear namespace lab") == []
        await until(lambda: [ends(host) for host in hosts] == [None] * 3)
        record = hosts[0].agreement.shared.get(SPACE, "lab", SpaceRecord)
        assert record is not None
        await hosts[0].text("namespace lab")  # another one of that name
        await hosts[0].text("ns add-hosts kn[1-3]", "lab")
        for _ in range(2000):  # turns of the loop: whatever wants to be joined would be by then
            await asyncio.sleep(0)
        assert [ends(host) for host in hosts] == [None] * 3


async def test_two_who_decide_at_once_agree(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2", "kn3") as (_, hosts):
        await asyncio.gather(hosts[0].text("ns bridge b gre", "lab"), hosts[1].text("ns bridge b vxlan", "lab"))
        await until(lambda: is_mesh(hosts))


async def test_a_node_with_limits_joins_nothing(tmp_path: Path) -> None:
    """All VLANs pass a joined bridge, those of other namespaces too."""
    roles = {"kn2": (Role.FULL, "lab"), "kn3": (Role.READ_ONLY, "")}
    async with cluster(tmp_path, "kn1", "kn2", "kn3", roles=roles) as (_, hosts):
        for limited in hosts[1:]:
            assert await limited.errors("ns bridge b", "lab") != []
            assert await limited.errors("mesh send kn1 ns bridge b", "lab") != []
        assert hosts[0].ways.joined == {}


async def test_records_that_make_no_sense_for_a_host_do_no_harm(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2") as (_, hosts):
        shared = hosts[0].agreement.shared
        await shared.put(KIND, "nowhere/b", JoinRecord("x", TunnelKind.GRE, 5))
        await shared.put(KIND, "lab/b", JoinRecord("another", TunnelKind.GRE, 5))
        await shared.put(ADDRESS_KIND, "kn9", AddressRecord("10.0.0.9"))
        await hosts[0].text("ns bridge c", "lab")
        assert is_mesh(hosts, "c")
        assert [ends(host) for host in hosts] == [None, None]


async def test_what_was_joined_before_a_restart_is_not_joined_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, "kn1", "kn2") as (_, hosts):
        await hosts[0].text("ns bridge b", "lab")
        found = ends(hosts[0])
        assert found is not None
        hosts[0].ways.joined["lab", "b"] = Want("lab", "b", found[0], found[1], found[2])
        hosts[0].ways.broken = True  # joining would be noticed
        await hosts[0].agreement.settling.settle("lab")


async def test_a_new_address_is_told_once_the_disk_has_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_LOOK_S", 0.01)
    async with cluster(tmp_path, "kn1", "kn2") as (_, hosts):
        with full_disk(hosts[1].fleet._journal) as refused:
            hosts[1].ways.at = "10.0.0.22"
            await until(lambda: bool(refused))
        known = hosts[0].agreement.shared
        await until(lambda: known.get(ADDRESS_KIND, "kn2", AddressRecord) == AddressRecord("10.0.0.22"))
