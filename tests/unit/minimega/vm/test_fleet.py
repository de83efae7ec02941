"""The fleet above an imagined backend: whole or nothing, errors per VM, recovery. The journal is a real one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from megatools.hostkit.errors import AlreadyExists, InvalidState, NotFound, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.state.journal import Journal, Put, decode
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm import launching, releasing, writing
from megatools.minimega.vm.backends.fake import FakeBackend, FakePorts
from megatools.minimega.vm.config import DiskSpec, VmConfig, VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.handlers import handlers
from megatools.minimega.vm.lifecycle import VmState
from megatools.minimega.vm.operations import LaunchVms, ReadTags, Refused, SetTag, VmInfo
from megatools.minimega.vm.plan import Nic, VmPlan
from megatools.minimega.vm.records import VmRecord
from megatools.minimega.vm.settings import VmSettings
from tests.unit.minimega.state.full_disk import full_disk

NS = "minimega"


@dataclass
class World:
    """What outlives a daemon in these tests: the directory, the VMs, the ports."""

    base: Path
    backend: FakeBackend = field(default_factory=FakeBackend)
    ports: FakePorts = field(default_factory=FakePorts)

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[Fleet]:
        journal = Journal(self.base / "journal.db", "host")
        try:
            async with Supervisor("test") as supervisor:
                fleet = Fleet(
                    base=self.base,
                    files=self.base / "files",
                    journal=journal,
                    network=self.ports,
                    backends={VmKind.KVM: self.backend},
                    supervisor=supervisor,
                    settings=VmSettings(accelerator="tcg"),
                    clock=StampClock("h"),
                )
                await fleet.recover()
                yield fleet
        finally:
            journal.close()

    def records(self) -> list[str]:
        journal = Journal(self.base / "journal.db", "host")
        try:
            return [record.id for record in journal.read("vm")]
        finally:
            journal.close()

    def instance_directories(self) -> list[str]:
        return sorted(path.name for path in self.base.iterdir() if path.name.isdigit())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def plan(name: str, *, nics: int = 1, config: VmConfig | None = None) -> VmPlan:
    return VmPlan(
        uuid=f"uuid-{name}",
        name=name,
        namespace=NS,
        config=config or VmConfig(),
        nics=tuple(Nic("br", 100) for _ in range(nics)),
    )


def states(fleet: Fleet) -> dict[str, VmState]:
    return {row.name: row.state for row in fleet.rows(NS)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_a_batch_is_one_network_transaction_and_a_failure_leaves_nothing(world: World) -> None:
    async def scenario() -> None:
        world.backend.failures["prepare", "b"] = NotFound('no such kernel: "/k"')
        world.backend.failures["launch", "c"] = Unavailable("no")
        async with world.daemon() as fleet:
            results = await fleet.launch([plan(name, nics=2) for name in "abcd"])
            assert [(result.name, str(result.error)) for result in results] == [
                ("a", "None"),
                ("b", 'no such kernel: "/k"'),
                ("c", "no"),
                ("d", "None"),
            ]
            assert world.ports.batches == [6]
            assert states(fleet) == {"a": VmState.BUILDING, "d": VmState.BUILDING}
            assert {port.owner for port in world.ports.attached.values()} == {"uuid-a", "uuid-d"}
            assert fleet.names(NS) == {"a", "d"}
        assert world.records() == ["uuid-a", "uuid-d"]
        assert world.instance_directories() == ["0", "3"]

    run(scenario)


def test_a_network_that_refuses_fails_the_batch_and_leaves_nothing(world: World) -> None:
    def refuse(_ports: object) -> None:
        raise Unavailable("open vswitch does not answer")

    async def scenario() -> None:
        world.ports.refuse = refuse
        async with world.daemon() as fleet:
            results = await fleet.launch([plan("a"), plan("b")])
            assert [str(result.error) for result in results] == ["open vswitch does not answer"] * 2
            assert fleet.rows() == []
        assert world.records() == [] and world.instance_directories() == []

    run(scenario)


def test_ports_that_cannot_be_given_back_are_undone_at_the_next_start(world: World) -> None:
    async def fail() -> None:
        async with world.daemon() as fleet:
            world.backend.failures["launch", "a"] = Unavailable("no")
            detach, world.ports.detach = world.ports.detach, broken  # type: ignore[method-assign]
            results = await fleet.launch([plan("a"), plan("b")])
            world.ports.detach = detach  # type: ignore[method-assign]
            assert [str(result.error) for result in results] == ["no", "None"]
            assert len(world.ports.attached) == 2

    async def broken(_taps: object) -> None:
        raise Unavailable("open vswitch does not answer")

    async def recover() -> None:
        async with world.daemon() as fleet:
            assert states(fleet) == {"b": VmState.BUILDING}
            assert {port.owner for port in world.ports.attached.values()} == {"uuid-b"}

    run(fail)
    run(recover)
    assert world.records() == ["uuid-b"] and world.instance_directories() == ["1"]


def test_start_stop_kill_flush(world: World) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan("a"), plan("b")])
            assert await fleet.start(NS, "all") == ()
            with pytest.raises(InvalidState, match="vm is already running"):
                await fleet.start(NS, "a")
            assert await fleet.stop(NS, "a,zz") == ("zz",)
            assert states(fleet) == {"a": VmState.PAUSED, "b": VmState.RUNNING}
            with pytest.raises(InvalidState, match="VM state error: a"):
                await fleet.stop(NS, "a")
            with pytest.raises(InvalidState, match="VM state error: b"):
                await fleet.flush(NS, "b")
            await fleet.kill(NS, "b")
            assert states(fleet)["b"] is VmState.QUIT
            await fleet.flush(NS, "all")
            assert states(fleet) == {"a": VmState.PAUSED}
            assert {port.owner for port in world.ports.attached.values()} == {"uuid-a"}
        assert world.records() == ["uuid-a"] and world.instance_directories() == ["0"]

    run(scenario)


def test_a_death_is_an_error_with_its_reason_and_a_named_start_brings_it_back(world: World) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan("a")])
            await fleet.start(NS, "a")
            world.backend.instances["uuid-a"].die("QEMU ended by signal 11")
            await until(lambda: states(fleet) == {"a": VmState.ERROR})
            assert fleet.rows()[0].tags == {"error": "QEMU ended by signal 11"}
            await until(lambda: not world.ports.attached)
            await fleet.start(NS, "all")
            assert states(fleet) == {"a": VmState.ERROR}
            await fleet.start(NS, "a")
            assert states(fleet) == {"a": VmState.RUNNING} and fleet.rows()[0].tags == {}
            assert list(world.ports.attached) == list(fleet.rows()[0].tap)

    run(scenario)


def test_a_relaunch_that_fails_keeps_the_vm_with_the_error(world: World) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan("a")])
            await fleet.kill(NS, "a")
            world.backend.failures["prepare", "a"] = NotFound('no such kernel: "/k"')
            with pytest.raises(NotFound, match="no such kernel"):
                await fleet.start(NS, "a")
            assert states(fleet) == {"a": VmState.ERROR}
            assert fleet.rows()[0].tags == {"error": 'no such kernel: "/k"'}
        assert world.records() == ["uuid-a"] and not world.ports.attached

    run(scenario)


def test_kill_and_start_at_once_do_not_confuse_two_lives(world: World) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan("a")])
            await fleet.start(NS, "a")
            async with asyncio.TaskGroup() as group:
                group.create_task(fleet.kill(NS, "a"))
                group.create_task(fleet.kill(NS, "a,a"))
            assert states(fleet) == {"a": VmState.QUIT}

    with pytest.raises(ExceptionGroup) as refused:
        run(scenario)
    assert refused.group_contains(InvalidState, match="VM state error: a")


def test_names_uuids_macs_and_disks_in_conflict(world: World) -> None:
    async def scenario() -> None:
        disk = VmConfig(snapshot=False, disks=(DiskSpec("/d"),))
        async with world.daemon() as fleet:
            await fleet.launch([plan("a", config=disk)])
            errors = [
                (await fleet.launch([one]))[0].error
                for one in (
                    plan("a"),
                    VmPlan(uuid="u2", name="a", namespace=NS),
                    VmPlan(uuid="u3", name="c", namespace=NS, config=VmConfig(disks=(DiskSpec("/d"),))),
                    VmPlan(uuid="u4", name="d", namespace=NS, nics=(Nic("b", 1, mac="x"), Nic("b", 1, mac="x"))),
                )
            ]
            assert [str(error) for error in errors] == [
                "duplicate VM UUID: uuid-a",
                "duplicate VM name: a",
                "disk conflict with vm a: /d",
                'MAC "x" is given twice to vm "d"',
            ]
            assert isinstance(errors[0], AlreadyExists)
            assert (await fleet.launch([VmPlan(uuid="u5", name="a", namespace="other")]))[0].error is None

    run(scenario)


def test_recovery_adopts_lists_and_keeps(world: World) -> None:
    async def first() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan(name) for name in "abc"])
            await fleet.start(NS, "a,b")
            await fleet.tag([fleet.find(NS, "a")], {"color": "red"})

    async def crash_in_launch_and_a_record_from_the_future() -> None:
        journal = Journal(world.base / "journal.db", "host")
        (world.base / "7").mkdir()
        half = {"id": 7, "backend": "kvm", "plan": {"uuid": "uuid-h", "name": "h", "namespace": NS}, "taps": ["t9"]}
        await journal.write(
            Put("vm", "uuid-h", NS, half), Put("vm", "uuid-x", NS, {"id": 8, "backend": "teleport", "odd": [1]})
        )
        journal.close()

    async def second() -> None:
        async with world.daemon() as fleet:
            assert states(fleet) == {"a": VmState.RUNNING, "b": VmState.QUIT, "c": VmState.BUILDING}
            assert fleet.rows()[0].tags == {"color": "red"}
            await until(lambda: {port.owner for port in world.ports.attached.values()} == {"uuid-a", "uuid-c"})
            await fleet.stop(NS, "a")
            assert (await fleet.launch([plan("n")]))[0].id == 9

    run(first)
    run(crash_in_launch_and_a_record_from_the_future)
    world.backend.lost.add("uuid-b")
    run(second)
    assert world.records() == ["uuid-a", "uuid-b", "uuid-c", "uuid-n", "uuid-x"]
    assert "7" not in world.instance_directories()


@pytest.mark.parametrize("step", ["make", "plug"])
def test_a_cancelled_launch_leaves_nothing(world: World, step: str) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            started = asyncio.Event()

            async def hang(ports: object) -> None:
                started.set()
                await asyncio.Event().wait()

            setattr(world.ports, step, hang)
            task = asyncio.create_task(fleet.launch([plan("a")]))
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert fleet.names(NS) == frozenset()
        assert world.records() == [] and world.instance_directories() == []
        assert world.backend.instances == {}

    run(scenario)


def test_processes_end_when_the_switch_refuses_meanwhile(world: World) -> None:
    async def refuse(_ports: object) -> None:
        await until(lambda: len(world.backend.launched) == 2)
        raise Unavailable("the switch is dead")

    async def scenario() -> None:
        async with world.daemon() as fleet:
            setattr(world.ports, "plug", refuse)  # noqa: B010 - mypy refuses an assignment to a method
            results = await fleet.launch([plan("a"), plan("b")])
            assert [str(result.error) for result in results] == ["the switch is dead"] * 2
            assert [instance.ended for instance in world.backend.launched] == [True, True]
            assert fleet.rows() == []
        assert world.backend.instances == {} and world.records() == [] and world.instance_directories() == []

    run(scenario)


def test_close_kills_and_forgets_or_lets_go(world: World) -> None:
    async def leave() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan("a")])
            await fleet.close(kill=False)
            assert world.backend.instances["uuid-a"].released

    async def kill() -> None:
        async with world.daemon() as fleet:
            await fleet.close(kill=True)
            assert fleet.rows() == []

    run(leave)
    assert world.records() == ["uuid-a"]
    run(kill)
    assert world.records() == [] and not world.ports.attached and world.instance_directories() == []


def test_addresses_heard_reach_a_subscriber(world: World) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan("a"), plan("b")])
            mac = fleet.find(NS, "b").site.plan.nics[0].mac
            feed = fleet.subscribe()
            heard = asyncio.ensure_future(anext(feed))
            await asyncio.sleep(0)
            fleet.addresses_changed(mac)
            async with asyncio.timeout(5):
                assert (await heard).name == "b"

    run(scenario)


def test_changes_reach_a_subscriber(world: World) -> None:
    async def scenario() -> None:
        async with world.daemon() as fleet:
            feed = fleet.subscribe()
            following = asyncio.create_task(anext(feed))
            await asyncio.sleep(0)
            await fleet.launch([plan("a")])
            change = await following
            assert (change.name, change.state, change.removed) == ("a", VmState.BUILDING, False)
            await feed.aclose()  # type: ignore[attr-defined]

    run(scenario)


def test_tables_have_the_columns_of_the_manual(world: World) -> None:
    columns = (
        "id,name,state,uptime,type,uuid,cc_active,pid,vlan,bridge,tap,mac,ip,ip6,qos,qinq,bond,memory,vcpus,disks,snapshot,"
        "initrd,kernel,cdrom,save,append,serial-ports,virtio-ports,vnc_port,usb-use-xhci,tpm-socket,"
        "bidirectional-copy-paste,android_avd,android_console_port,android_adb_port,android_serial,filesystem,hostname,"
        "init,preinit,fifo,volume,console_port,tags"
    ).split(",")

    async def scenario() -> None:
        async with world.daemon() as fleet:
            do = handlers(fleet)
            await do[LaunchVms](NS, LaunchVms((plan("a"),)))
            await do[SetTag](NS, SetTag("a", "k", "v"))
            full = (await do[VmInfo](NS, VmInfo())).table
            assert full is not None and list(full.header) == columns
            row = dict(zip(full.header, full.rows[0], strict=True))
            assert (row["vlan"], row["android_avd"], row["tags"]) == ("[100]", "N/A", '{"k":"v"}')
            short = (await do[VmInfo](NS, VmInfo(summary=True))).table
            assert short is not None and ",".join(short.header) == "id,name,state,type,uuid,cc_active,vlan"
            tags = (await do[ReadTags](NS, ReadTags("all"))).table
            assert tags is not None and tags.rows == (("a", "k", "v"),)
            world.backend.failures["prepare", "c"] = NotFound("gone", hint="look elsewhere")
            answer = await do[LaunchVms](NS, LaunchVms((plan("b"), plan("c"))))
            assert LaunchVms.refused(answer) == [Refused("c", "gone", "look elsewhere")]

    run(scenario)


def test_a_full_disk_is_told_hides_no_vm_and_is_made_good(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_AGAIN_S", 0.0)

    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan(name) for name in "abcd"])
            await fleet.start(NS, "all")
            await fleet.tag([fleet.find(NS, "a")], {"color": "red"})
            with full_disk(fleet._journal) as refused:
                with pytest.raises(Unavailable, match='vm "b" is QUIT now, but that cannot be written down yet'):
                    await fleet.kill(NS, "b")
                with pytest.raises(Unavailable):
                    await fleet.tag([fleet.find(NS, name) for name in "ad"], {"color": "blue", "shape": "round"})
                assert [dict(vm.tags) for vm in fleet.machines(NS)] == [{"color": "red"}, {}, {}, {}]
                world.backend.instances["uuid-c"].die("out of memory")
                await until(lambda: states(fleet)["c"] is VmState.ERROR)
                (result,) = await fleet.launch([plan("e")])
                assert str(result.error) == "cannot write the journal"
                assert set(world.ports.attached) and set(states(fleet)) == set("abcd")
                with pytest.raises(Unavailable, match="1 VMs are gone, but that cannot be written down yet"):
                    await fleet.flush(NS, "b")
                assert refused
            await until(lambda: not fleet._records._refused.is_set())
            written = [decode(record, VmRecord) for record in fleet._journal.read("vm")]
            assert {record.plan.name: record.state for record in written} == {
                "a": VmState.RUNNING,
                "c": VmState.ERROR,
                "d": VmState.RUNNING,
            }
            assert await fleet.stop(NS, "a") == ()
            assert await fleet.start(NS, "c") == ()
            assert await fleet.flush(NS, "all") == ()
            assert {port.owner for port in world.ports.attached.values()} == {f"uuid-{name}" for name in "acd"}
        assert world.records() == ["uuid-a", "uuid-c", "uuid-d"]

    run(scenario)


def test_taps_that_the_switch_does_not_take_back_are_offered_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (launching, releasing):
        monkeypatch.setattr(module, "_AGAIN_S", 0.0)
    refusals: list[int] = []

    async def refuse(taps: Sequence[str]) -> None:
        refusals.append(len(taps))
        raise Unavailable("the Open vSwitch database refused the change")

    async def scenario() -> None:
        async with world.daemon() as fleet:
            await fleet.launch([plan(name) for name in "abc"])
            await fleet.start(NS, "all")
            world.backend.failures["launch", "d"] = Unavailable("no")
            with monkeypatch.context() as full:
                full.setattr(world.ports, "detach", refuse)
                await fleet.kill(NS, "a,b")
                (result,) = await fleet.launch([plan("d")])
                assert str(result.error) == "no"
                await until(lambda: len(refusals) > 6)
                with pytest.raises(Unavailable):
                    await fleet.flush(NS, "b")
                assert set(states(fleet)) == set("abc") and len(world.ports.attached) == 4
            await until(lambda: {port.owner for port in world.ports.attached.values()} == {"uuid-c"})
            assert await fleet.flush(NS, "b") == ()
            await until(lambda: world.instance_directories() == ["0", "2"])
        assert world.records() == ["uuid-a", "uuid-c"]

    run(scenario)
