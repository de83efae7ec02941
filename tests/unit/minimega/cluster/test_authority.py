"""Hosts agree on VLAN numbers over a mesh in memory, with partitions, restarts and hosts that forgot everything."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidInput, NotFound, Unavailable
from megatools.minimega.cluster import authority, vlan_care
from megatools.minimega.cluster.vlan_messages import Ask
from megatools.minimega.cluster.vlan_table import Clear
from megatools.minimega.mesh.mesh import Role
from megatools.minimega.net.vlans import RangeRow
from megatools.minimega.state.shared import Entry
from tests.unit.minimega.cluster.vlan_lab import until, vlan_lab

FIVE = ("kn1", "kn2", "kn3", "kn4", "kn5")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlan_care, "_PERIOD_S", 0.2)
    monkeypatch.setattr(vlan_care, "_TURN_S", 0.05)
    monkeypatch.setattr(vlan_care, "_ALONE_S", 0.1)
    monkeypatch.setattr(vlan_care, "_TOGETHER_S", 0.01)


async def test_a_name_has_one_number_on_all_hosts_whoever_asks_first(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE)
        numbers = await asyncio.gather(*(host.number(name) for host in hosts for name in ("lan", "dmz")))
        assert set(numbers) == {101, 102}
        await lab.agreed()
        assert hosts[3].table() == hosts[0].table() == {"lan": numbers[0], "dmz": numbers[1]}


async def test_a_host_in_a_mesh_by_itself_begins_as_it_always_did(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        (one,) = await lab.start("kn1")
        await lab.space("lab", ["kn1"])
        assert [await one.number("lan"), await one.number("dmz"), await one.number("lan", "lab")] == [101, 102, 103]
        await lab.crash("kn1")
        (one,) = await lab.start("kn1")
        assert one.table() == {"lan": 101, "dmz": 102}
        assert await one.number("new") == 104


async def test_a_side_without_enough_hosts_says_so_and_what_works(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE)
        assert await hosts[0].number("lan") == 101
        await lab.together()
        lab.network.partition(FIVE[:2], FIVE[2:])
        with pytest.raises(Unavailable) as caught:
            await hosts[0].number("new")
        text = 'the hosts of namespace "minimega" cannot agree on VLANs: kn[1-2] of kn[1-5] answered'
        assert caught.value.message == text
        assert "a VLAN number, such as 300" in caught.value.hint
        assert await hosts[0].number("lan") == 101
        assert await hosts[0].number("300") == 300
        assert await hosts[4].number("new") == 102
        with pytest.raises(Unavailable):
            await hosts[1].vlans.clear("minimega")
        lab.network.heal()
        assert await hosts[0].number("new") == 102
        await lab.agreed()


async def test_half_with_the_owner_is_enough(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        one, two = await lab.start("kn1", "kn2")
        assert await two.number("lan") == 101
        await lab.together()
        lab.network.cut("kn1", "kn2")
        assert await one.number("dmz") == 102
        with pytest.raises(Unavailable, match="kn2 of kn"):
            await two.number("lab")
        lab.network.heal()
        assert await two.number("lab") == 103
        await lab.agreed()


async def test_a_hung_owner_is_gone_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatools.minimega.cluster.authority._OWNER_S", 0.05)
    monkeypatch.setattr("megatools.minimega.cluster.polling.PATIENCE_S", 0.5)
    monkeypatch.setattr("megatools.minimega.cluster.polling._GRACE_S", 0.01)
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE[:3])
        assert await hosts[1].number("lan") == 101
        await lab.together()
        lab.network.hanging.add("kn1")
        assert await hosts[1].number("dmz") == 102
        assert await hosts[2].number("dmz") == 102


async def test_a_crash_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE[:3])
        given = {"a": await hosts[0].number("a")}
        await lab.together()
        await lab.crash("kn1")
        given["b"] = await hosts[1].number("b")
        await lab.start("kn1")
        await lab.crash("kn2")
        given["c"] = await lab.hosts["kn3"].number("c")
        assert await lab.hosts["kn1"].number("b") == given["b"]
        await lab.start("kn2")
        await lab.agreed()
        assert lab.hosts["kn2"].table() == given
        assert len(set(given.values())) == 3


async def test_a_host_that_lost_its_disk_is_taken_back_and_spoils_nothing(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE[:3])
        assert await hosts[0].number("first") == 101
        await lab.together()
        lab.network.partition(["kn1", "kn2"], ["kn3"])
        assert await hosts[1].number("lan") == 102
        await lab.crash("kn2", wipe=True)
        lab.network.heal()
        lab.network.cut("kn1", "kn2")
        lab.network.cut("kn1", "kn3")
        await lab.start("kn2")
        for name in ("kn2", "kn3"):
            with pytest.raises(Unavailable):
                await lab.hosts[name].number("dmz")
        lab.network.heal()
        assert await lab.hosts["kn2"].number("lan") == 102
        await until(lambda: lab.hosts["kn1"].tables.council("minimega").seats[1].id == lab.hosts["kn2"].roster.id)
        await lab.together()
        await lab.crash("kn1")
        assert await lab.hosts["kn3"].number("dmz") == 103


async def test_who_comes_later_has_a_say_and_who_is_given_up_has_none(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        (one,) = await lab.start("kn1")
        assert await one.number("lan") == 101
        await lab.start("kn2", "kn3")
        await until(lambda: lab.council() == [{"kn1", "kn2", "kn3"}] * 3)
        assert await lab.hosts["kn3"].number("lan") == 101
        await lab.crash("kn1", "kn2")
        with pytest.raises(Unavailable):
            await lab.hosts["kn3"].number("dmz")
        for name in ("kn1", "kn2"):
            await lab.hosts["kn3"].roster.forget(name)
        await until(lambda: lab.council() == [{"kn3"}])
        assert await lab.hosts["kn3"].number("dmz") == 102
        assert lab.hosts["kn3"].table() == {"lan": 101, "dmz": 102}


async def test_who_quits_is_not_waited_for_and_may_come_back(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE)
        assert await hosts[0].number("lan") == 101
        await lab.together()
        for name in FIVE[:4]:
            await lab.quit(name)
        assert await hosts[4].number("dmz") == 102
        await lab.together()
        await lab.start(*FIVE[:4])
        await lab.together()
        assert lab.hosts["kn1"].table() == {"lan": 101, "dmz": 102}


async def test_who_has_left_does_not_enter_itself_again(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        one, two = await lab.start("kn1", "kn2")
        await until(lambda: one.roster.names() == ["kn1", "kn2"])
        await two.roster.leave()
        await two.roster.enlist()
        two.care.wake()
        await until(lambda: one.roster.names() == ["kn1"])
        assert one.roster.gone() == {"kn2"}
        with pytest.raises(NotFound, match=r'^"kn2" is no member of the cluster$'):
            await one.roster.forget("kn2")
        with pytest.raises(InvalidInput, match=r'^"kn1" is this host$'):
            await one.roster.forget("kn1")


async def test_numbers_used_on_a_host_that_quit_are_free(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        one, two = await lab.start("kn1", "kn2")
        await two.number("101")
        await lab.agreed()
        assert await one.number("lan") == 102
        await lab.quit("kn2")
        await one.vlans.clear("minimega")
        assert await one.number("lan") == 101


async def test_a_namespace_is_decided_on_by_its_hosts_from_wherever_it_is_driven(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE)
        await lab.space("lab", ["kn3", "kn4", "kn5"])
        lan = await hosts[0].number("lan", "lab")
        assert await hosts[4].number("lan", "lab") == lan
        assert await hosts[1].number("lab//lan") == lan
        assert await hosts[1].number("lan") == 101
        lab.network.partition(["kn1", "kn2", "kn3"], ["kn4", "kn5"])
        with pytest.raises(Unavailable):
            await hosts[0].number("dmz", "lab")
        dmz = await hosts[4].number("dmz", "lab")
        lab.network.heal()
        await until(lambda: hosts[0].table("lab") == {"lan": lan, "dmz": dmz})
        await lab.space("lab", ["kn1", "kn2"])
        await lab.together("lab", ["kn1", "kn2"])
        lab.network.partition(["kn1", "kn2"], ["kn3", "kn4", "kn5"])
        assert await hosts[1].number("dmz", "lab") == dmz
        assert len({lan, dmz, await hosts[1].number("new", "lab"), 101}) == 4


async def test_who_asked_the_owner_shows_a_name_as_soon_as_it_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with vlan_lab(tmp_path) as lab:
        one, two, _ = await lab.start("kn1", "kn2", "kn3")
        await lab.space("lab", ["kn2", "kn3", "kn1"])

        send, may_send = two.replication._send, asyncio.Event()

        async def held(hosts: Sequence[str], batch: tuple[Entry, ...]) -> None:
            await may_send.wait()
            await send(hosts, batch)

        monkeypatch.setattr(two.replication, "_send", held)
        asking = asyncio.create_task(one.number("lan", "lab"))
        await until(lambda: "lan" in two.table("lab"))
        assert not asking.done()
        may_send.set()
        assert {"lan": await asking} == one.table("lab") == two.table("lab")


async def test_a_decision_that_does_not_come_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of the host that asked may be full."""
    monkeypatch.setattr(authority, "_COMES_S", 0.1)
    async with vlan_lab(tmp_path) as lab:
        one, two, _ = await lab.start("kn1", "kn2", "kn3")
        await lab.space("lab", ["kn2", "kn3", "kn1"])

        async def never(hosts: object, batch: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(two.replication, "_send", never)
        lan = await one.number("lan", "lab")
        assert two.table("lab") == {"lan": lan}
        assert one.table("lab") == {}


async def test_numbers_in_use_or_with_another_name_anywhere_are_passed_over(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE[:3])
        hosts[1].in_use |= {101, 102}
        await hosts[2].vlans.resolve("minimega", "103")
        await hosts[0].vlans.blacklist("minimega", "104")
        assert await hosts[0].number("lan") == 105
        await until(lambda: hosts[2].vlans.blacklisted() == [103, 104])
        await hosts[0].vlans.set_range("minimega", "105", "107")
        await hosts[1].vlans.add("minimega", "dmz", "106")
        with pytest.raises(Unavailable, match=r"^out of VLANs$"):
            await hosts[2].number("new")
        with pytest.raises(AlreadyExists, match=r"^alias already in use$"):
            await hosts[2].vlans.add("minimega", "dmz", "300")
        with pytest.raises(AlreadyExists, match=r"^vlan already in use$"):
            await hosts[2].vlans.add("minimega", "new", "105")
        await lab.agreed()
        assert hosts[0].vlans.range_row("minimega") == RangeRow(105, 107, 105)
        await hosts[2].vlans.clear("minimega", "d")
        await lab.agreed()
        assert hosts[0].table() == {"lan": 105}


async def test_names_given_out_before_hosts_met_are_agreed_on_or_stay_where_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with vlan_lab(tmp_path) as lab:
        lab.network.cut("kn1", "kn2")
        one, two = await lab.start("kn1", "kn2")
        assert [await one.number("lan"), await one.number("a"), await one.number("b")] == [101, 102, 103]
        assert [await two.number("lan"), await two.number("b"), await two.number("c")] == [101, 102, 103]
        await two.number("d")
        lab.network.heal()
        await until(lambda: "d" in one.table() and "d" in two.table())
        await until(lambda: lab.council() == [{"kn1", "kn2"}] * 2)
        assert (await one.number("lan"), await one.number("a"), await one.number("b")) == (101, 102, 103)
        assert (await two.number("lan"), await two.number("b"), await two.number("c")) == (101, 102, 103)
        assert await one.number("d") == await two.number("d") == 104
        assert await one.number("e") == await two.number("e") == 105
        assert "both were given out before the hosts met" in caplog.text


async def test_a_destroyed_namespace_leaves_nothing(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        hosts = await lab.start(*FIVE[:3])
        await lab.space("lab", FIVE[:3])
        await hosts[0].number("lan", "lab")
        await hosts[0].membership.end("lab")
        await until(lambda: all(not host.table("lab") for host in hosts))
        await until(lambda: all(not host.shared.all("vlan", dict) for host in hosts))


async def test_who_may_only_read_decides_nothing(tmp_path: Path) -> None:
    async with vlan_lab(tmp_path) as lab:
        (one,) = await lab.start("kn1")
        await one.number("lan")
        guest = lab.network.join("kn9", role=Role.READ_ONLY)
        request = msgspec.msgpack.encode(Ask("minimega", (Clear(),)))
        (end,) = [arrival async for arrival in guest.call(["kn1"], "vlan", request, timeout_s=5)]
        assert end.kind == "PermissionDenied"
        assert one.table() == {"lan": 101}
