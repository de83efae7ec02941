"""VM ports on a real Open vSwitch: batches, all or nothing, crashes, nothing left behind."""

import os
import signal

import pytest

from megatools.hostkit import proc, taps
from megatools.hostkit.errors import AlreadyExists, InvalidInput, MegaError
from megatools.hostkit.ovs import service
from megatools.hostkit.ovs.database import Database
from megatools.minimega.net.ports import OvsSettings, Port
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.state.journal import Journal
from tests.support.requires import requires

pytestmark = [pytest.mark.anyio, pytest.mark.root, requires("ovs-vswitchd", "ovsdb-server", "ovs-ofctl")]
MAC = "52:54:00:00:00:01"


def port(tap: str, vlan: int | None = 5, bridge: str = "mega_bridge") -> Port:
    return Port(tap, bridge, vlan, "minimega", "uuid", MAC)


async def test_a_batch_comes_moves_and_goes(base, opened, inhabitants) -> None:
    async with opened() as stack:
        assert inhabitants() == []  # no switch before the first use
        names = stack.network.new_tap_names(20)
        await stack.network.attach([port(name) for name in names])
        assert inhabitants() == ["ovs-vswitchd", "ovsdb-server"]
        database = await Database.open(base / "ovs" / "db.sock")
        tags = {row.name: row.tag for row in await database.ports()}
        assert tags.items() >= dict.fromkeys(names, 5).items()
        assert all(taps.is_up(name) and taps.is_tap(name) for name in names)
        await stack.network.retag({names[0]: ("mega_bridge", 6), names[1]: ("other", 7), names[2]: ("x", None)})
        tags = {row.name: row.tag for row in await database.ports()}
        assert (tags[names[0]], tags[names[1]], tags.get(names[2])) == (6, 7, None)
        assert stack.network.vlans_in_use() == {5, 6, 7}
        await stack.network.detach([*names, "unknown"])
        assert {row.name for row in await database.ports()} == {"mega_bridge", "other"}
        assert not any(taps.exists(name) for name in names)
        database.close()
    assert inhabitants() == []
    assert taps.names() == {"lo"}


async def test_a_batch_that_fails_leaves_nothing(base, opened) -> None:
    async with opened() as stack:
        await stack.network.attach([port("good")])
        before = taps.names()
        taps.create("occupied")
        with pytest.raises(AlreadyExists, match=r'"occupied"'):
            await stack.network.attach([port("new1"), port("occupied")])
        with pytest.raises(AlreadyExists, match=r"2 times"):
            await stack.network.attach([port("new1"), port("new1")])
        with pytest.raises(InvalidInput):
            await stack.network.attach([port("new1"), port("new2", 4096)])
        taps.remove("occupied")
        # the database knows a port of this name that is not ours: the transaction is refused as a whole
        database = await Database.open(base / "ovs" / "db.sock")
        with pytest.raises(MegaError):
            await stack.network.attach([port("new1"), port("new2", bridge="good")])  # a tap's name, not a bridge's
        assert taps.names() - {"good"} == before - {"good"}
        await stack.network.attach([port("new1")])
        assert {row.name for row in await database.ports()} == {"mega_bridge", "good", "new1"}
        database.close()
        await stack.network.detach(["good", "new1"])


async def test_ports_left_by_a_daemon_that_is_gone_are_replaced(base, opened) -> None:
    async with opened() as stack:
        await stack.network.attach([port("t1")])
        stack.network._ports.clear()
        taps.remove("t1")
        await stack.network.attach([port("t1", 9)])
        database = await Database.open(base / "ovs" / "db.sock")
        assert [row.tag for row in await database.ports() if row.name == "t1"] == [9]
        database.close()


async def test_the_next_daemon_adopts_what_is_whole_and_removes_the_rest(base, opened, inhabitants) -> None:
    async with opened(quits=False) as stack:
        await stack.network.attach([port(name) for name in ("whole", "no_tap", "no_row", "loose")])
        await stack.network.retag({"loose": ("mega_bridge", None)})
    running = inhabitants()
    taps.remove("no_tap")
    database = await Database.open(base / "ovs" / "db.sock")
    await database.remove_ports(["no_row"], wait=True)
    async with opened() as stack:
        assert inhabitants() == running  # adopted, not doubled
        assert [stack.network.is_vm_tap(name) for name in ("whole", "no_tap", "no_row", "loose")] == [
            True,
            False,
            False,
            True,
        ]
        assert {row.name for row in await database.ports()} == {"mega_bridge", "whole"}
        assert not taps.exists("no_row")
        assert stack.bridges is not None
        assert [row.preexisting for row in await stack.bridges.rows()] == [False]
    database.close()
    assert taps.names() == {"lo"}


async def test_bridges_that_were_there_before_stay(base, opened, tmp_path) -> None:
    foreign, database = await service.choose(None, base / "foreign")
    await database.add_bridge("theirs", service.datapath_type(), {})
    async with opened() as stack:
        await stack.network.attach([port("t1", bridge="theirs"), port("t2", bridge="ours")])
        assert not (base / "ovs").exists()  # the vswitchd that runs here is used, not doubled
        rows = {row.bridge: row.preexisting for row in await stack.bridges.rows()}
        assert rows == {"theirs": True, "ours": False}
        with pytest.raises(MegaError, match=r"existed before minimega"):
            await stack.bridges.destroy("theirs")
        with pytest.raises(MegaError, match=r"in use: t2"):
            await stack.bridges.destroy("ours")
    assert [row.name for row in await database.bridges()] == ["theirs"]
    assert [row.name for row in await database.ports()] == ["theirs"]
    await database.remove_bridges(["theirs"])
    assert await database.responds(timeout_s=20)
    database.close()
    assert foreign.run_dir == base / "foreign"
    await service.stop(base / "foreign")


async def test_two_daemons_share_one_switch(base, opened, inhabitants) -> None:
    second_base = base / "second"
    second_base.mkdir()
    journal = Journal(second_base / "journal.db", "host")
    second = NetworkStack(base=second_base, journal=journal, ovs=OvsSettings())
    async with opened() as first:
        await first.network.attach([port("t1")])
        await second.network.attach([port("t2")])
        assert inhabitants() == ["ovs-vswitchd", "ovsdb-server"]
        with pytest.raises(MegaError, match="ports that are not ours"):
            await first.network.detach(["t1"])
            await first.bridges.destroy("mega_bridge")
    assert inhabitants() == ["ovs-vswitchd", "ovsdb-server"]  # the first has quit, the second still has its port
    assert [row.bridge for row in await second.bridges.rows()] == ["mega_bridge"]
    await second.close(remove=True)
    journal.close()
    async with opened():  # whoever owns it cleans up when all others have gone
        pass
    assert inhabitants() == []
    assert taps.names() == {"lo"}


async def test_a_dead_switch_is_one_clear_error(base, opened) -> None:
    async with opened(run_dir=base / "nothing") as stack:
        with pytest.raises(MegaError, match=r"Open vSwitch does not answer"):
            await stack.network.attach([port("t1")])
        assert taps.names() == {"lo"}
        with pytest.raises(MegaError, match=r"Open vSwitch does not answer"):
            await stack.bridges.rows()


async def test_a_switch_that_died_is_started_again(base, opened, inhabitants) -> None:
    async with opened() as stack:
        await stack.network.attach([port("t1")])
        for name in ("ovs-vswitchd", "ovsdb-server"):
            identity = proc.identity_of(int((base / "ovs" / f"{name}.pid").read_text()))
            os.kill(identity.pid, signal.SIGKILL)
            assert await proc.wait_gone(identity, timeout_s=20)
        await stack.network.attach([port("t2")])
        assert inhabitants() == ["ovs-vswitchd", "ovsdb-server"]
        await stack.network.detach(["t1", "t2"])
    assert taps.names() == {"lo"}
