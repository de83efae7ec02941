"""The KVM backend with real QEMUs under TCG, without interfaces: their life, their death, their adoption."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from megatools.hostkit import proc
from megatools.hostkit.cgroups import Cgroups
from megatools.hostkit.errors import CommandFailed, InvalidInput, NotFound
from megatools.hostkit.qemu import probe
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.net.ports import OvsSettings
from megatools.minimega.net.stack import NetworkStack
from megatools.minimega.state.journal import Journal
from megatools.minimega.state.stamps import StampClock
from megatools.minimega.vm.backends.kvm.backend import KvmBackend
from megatools.minimega.vm.backends.kvm.find import running_qemus
from megatools.minimega.vm.config import DiskSpec, VmConfig, VmKind
from megatools.minimega.vm.fleet import Fleet
from megatools.minimega.vm.lifecycle import VmState
from megatools.minimega.vm.plan import VmPlan
from megatools.minimega.vm.settings import VmSettings
from tests.support.requires import requires

pytestmark = requires("qemu-system-x86_64")
NS = "minimega"
LEAN = VmConfig(memory_mib=32, vga="none")
_FILES = ("passwd", "group", "hosts", "hostname")
SETTINGS = VmSettings(accelerator="tcg")


@pytest.fixture
def base() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="mt-"))
    try:
        yield directory
    finally:
        for (_, pidfile), identity in running_qemus().items():
            if Path(pidfile).is_relative_to(directory):
                proc.send_signal(identity, signal.SIGKILL)
        shutil.rmtree(directory)


@asynccontextmanager
async def daemon(base: Path) -> AsyncIterator[Fleet]:
    """A fleet of real VMs; leaving the block is what happens to them when a daemon is killed."""
    journal = Journal(base / "journal.db", "host")
    try:
        async with Supervisor("test") as supervisor:
            backend = KvmBackend(SETTINGS, Cgroups(f"test-{os.getpid()}"), supervisor)
            fleet = Fleet(
                base=base,
                files=base / "files",
                journal=journal,
                network=NetworkStack(base=base, journal=journal, ovs=OvsSettings(None)).network,
                backends={VmKind.KVM: backend},
                supervisor=supervisor,
                settings=SETTINGS,
                clock=StampClock("h"),
            )
            await fleet.recover()
            yield fleet
    finally:
        journal.close()


def plan(name: str, config: VmConfig = LEAN) -> VmPlan:
    return VmPlan(uuid=f"11111111-2222-3333-4444-{sum(map(ord, name)):012d}", name=name, namespace=NS, config=config)


def states(fleet: Fleet) -> dict[str, VmState]:
    return {row.name: row.state for row in fleet.rows(NS)}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def lives(fleet: Fleet, name: str) -> bool:
    pid = fleet.find(NS, name).site.directory / "qemu.pid"
    return pid.exists() and proc.start_ticks(int(pid.read_text())) is not None


def test_a_life(base: Path) -> None:
    async def scenario() -> None:
        async with daemon(base) as fleet:
            results = await fleet.launch([plan(name) for name in ("a", "b", "c")])
            assert [result.error for result in results] == [None] * 3
            assert set(states(fleet).values()) == {VmState.BUILDING}
            instance = fleet.find(NS, "a").instance
            assert instance is not None and not await instance.running()
            await fleet.start(NS, "a")
            assert await instance.running() and states(fleet)["a"] is VmState.RUNNING
            await fleet.stop(NS, "a")
            assert not await instance.running() and states(fleet)["a"] is VmState.PAUSED
            await fleet.kill(NS, "all")
            assert not proc.is_alive(instance.identity)
            assert set(states(fleet).values()) == {VmState.QUIT}
            await fleet.start(NS, "b")
            assert states(fleet)["b"] is VmState.RUNNING and lives(fleet, "b")
            await fleet.close(kill=True)
            assert fleet.rows() == [] and not any(path.name.isdigit() for path in base.iterdir())

    run(scenario)


def test_each_vm_is_in_a_session_of_its_own(base: Path) -> None:
    async def scenario() -> None:
        async with daemon(base) as fleet:
            await fleet.launch([plan("a")])
            pid = fleet.rows()[0].pid
            assert os.getsid(pid) == pid != os.getsid(0)
            await fleet.close(kill=True)

    run(scenario)


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"qemu_append": ("-nonsense",)}, CommandFailed, "QEMU refused to start: -nonsense: invalid option"),
        ({"kernel": "/nope"}, NotFound, 'no such kernel: "/nope"'),
        ({"disks": (DiskSpec("/nope"),)}, NotFound, 'no such image: "/nope"'),
        ({"qemu": "no-such-qemu"}, NotFound, 'QEMU program "no-such-qemu" is not on this host'),
        ({"qemu": "/bin/true"}, CommandFailed, "QEMU did not start (status 0)"),
        ({"disks": tuple(DiskSpec(f"/etc/{name}") for name in _FILES)}, InvalidInput, "limit is 3"),
        ({"disks": (DiskSpec("/proc/self/maps"),)}, InvalidInput, '"/proc/self/maps" is not an image'),
    ],
)
def test_a_launch_that_fails_says_why_and_leaves_nothing(
    base: Path, config: dict[str, object], kind: type[Exception], message: str
) -> None:
    async def scenario() -> None:
        async with daemon(base) as fleet:
            bad = plan("bad", msgspec.structs.replace(LEAN, **config))
            good, failed = await fleet.launch([plan("good"), bad])
            assert good.error is None
            assert isinstance(failed.error, kind) and message in str(failed.error)
            assert states(fleet) == {"good": VmState.BUILDING}
            assert not (base / "1").exists()
            await fleet.close(kill=True)

    run(scenario)


def test_a_qemu_that_is_killed_is_an_error_and_one_that_powers_off_is_not(base: Path) -> None:
    async def scenario() -> None:
        async with daemon(base) as fleet:
            await fleet.launch([plan("a"), plan("b")])
            os.kill(fleet.rows()[0].pid, signal.SIGSEGV)
            os.kill(fleet.rows()[1].pid, signal.SIGTERM)  # QEMU takes it as a request to shut down
            await until(lambda: states(fleet) == {"a": VmState.ERROR, "b": VmState.QUIT})
            assert fleet.rows()[0].tags["error"].startswith("QEMU ended by signal 11")
            assert fleet.rows()[1].tags == {}

    run(scenario)


def test_a_restarted_daemon_adopts_what_runs(base: Path) -> None:
    async def first() -> None:
        async with daemon(base) as fleet:
            await fleet.launch([plan(name) for name in ("a", "b", "c", "d")])
            await fleet.start(NS, "a,b")
            await fleet.stop(NS, "b")

    async def second() -> None:
        async with daemon(base) as fleet:
            assert states(fleet) == {
                "a": VmState.RUNNING,
                "b": VmState.PAUSED,
                "c": VmState.BUILDING,
                "d": VmState.QUIT,
            }
            await fleet.start(NS, "b,d")
            await fleet.stop(NS, "a")
            os.kill(fleet.rows()[1].pid, signal.SIGKILL)
            await until(lambda: states(fleet)["b"] is VmState.ERROR)
            await fleet.kill(NS, "a,c,d")
            await fleet.flush(NS, "all")
            assert fleet.rows() == []

    run(first)
    victim = running_qemus()[plan("d").uuid, str(base / "3" / "qemu.pid")]
    proc.send_signal(victim, signal.SIGKILL)
    asyncio.run(proc.wait_gone(victim, timeout_s=10))
    run(second)


def test_a_snapshot_leaves_the_image_alone_and_a_screenshot_is_a_png(base: Path) -> None:
    image = base / "disk.raw"
    image.write_bytes(b"\xeb\xfe" + bytes(2**20 - 2))  # a boot sector that spins, were it one

    async def scenario() -> None:
        config = VmConfig(memory_mib=32, disks=(DiskSpec(str(image)),))
        async with daemon(base) as fleet:
            assert (await fleet.launch([plan("a", config)]))[0].error is None
            assert (base / "0" / "disk-0.qcow2").exists()
            assert fleet.console(NS, "a") == base / "0" / "vnc" and (base / "0" / "vnc").is_socket()
            await fleet.start(NS, "a")
            picture = await fleet.screenshot(NS, "a", 100)
            assert picture.startswith(b"\x89PNG") and int.from_bytes(picture[16:20], "big") <= 100
            await fleet.close(kill=True)

    run(scenario)
    assert image.read_bytes() == b"\xeb\xfe" + bytes(2**20 - 2)


def test_qemu_is_asked_what_it_knows() -> None:
    found = asyncio.run(probe.facts())
    assert {"e1000", "virtio-net-pci", "virtio-net"} <= found.nic_drivers
    assert {"qemu64", "max"} <= found.cpus and {"pc", "q35"} <= found.machines
    assert found.version[0].isdigit()
