"""kill -9 at any moment: what was acknowledged is adopted, what was half made is gone, quit leaves nothing."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from megatools.hostkit import proc, taps
from tests.support import netns
from tests.support.requires import requires

pytestmark = [pytest.mark.anyio, pytest.mark.root, requires("ovs-vswitchd", "ovsdb-server", "ovs-ofctl", "dnsmasq")]
ROUNDS = 5
REPOSITORY = Path(__file__).parents[3]


async def read_lines(reader: asyncio.StreamReader, count: int) -> list[str]:
    async with asyncio.timeout(60):
        return [(await reader.readline()).decode().strip() for _ in range(count)]


def story(base: Path) -> str:
    """What a failure needs to be understood."""
    running = netns.inhabitants(Path("/proc/thread-self/ns/net").stat().st_ino)
    lines = [f"{each.pid} {Path(f'/proc/{each.pid}/cmdline').read_bytes()!r}" for each in running]
    return "\n".join([(base / "attacher.log").read_text(), *lines, *map(str, base.iterdir())])


async def run_until_killed(base: Path, rounds: int, after_s: float) -> list[str]:
    """Start the attacher, let it go round, kill it somewhere in the next round; the taps it acknowledged."""
    read, write = os.pipe()
    path = {"PYTHONPATH": f"{REPOSITORY}/src:{REPOSITORY}"}
    argv = [sys.executable, "-m", "tests.integration.ovs.attacher", str(base)]
    with (base / "attacher.log").open("ab") as log:
        child = proc.spawn(argv, stdout=write, stderr=log.fileno(), env=path)
    os.close(write)
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(read, "rb"))
    lines = await read_lines(reader, 1 + rounds)
    assert lines[0] == "ready", story(base)
    assert await child.wait(timeout_s=after_s) is None, story(base)
    child.signal(signal.SIGKILL)
    assert await child.wait(timeout_s=20) == -signal.SIGKILL
    lines += (await reader.read()).decode().splitlines()
    transport.close()
    return [name for line in lines[1:] for name in line.split()]


async def test_five_crashes_lose_nothing_and_leave_nothing(base, opened, inhabitants) -> None:
    dice = random.Random(os.environ.get("MEGATOOLS_SEED", "7"))
    acknowledged: list[str] = []
    for _ in range(ROUNDS):
        acknowledged += await run_until_killed(base, 1, dice.uniform(0, 0.3))
        async with opened(quits=False) as stack:
            assert all(stack.network.is_vm_tap(name) and taps.exists(name) for name in acknowledged)
            assert all(tap.ready for tap in stack.host_taps.of("minimega"))
            assert all(taps.exists(tap.name) for tap in stack.host_taps.of("minimega"))
            servers = await stack.dhcp.rows("minimega")
            assert inhabitants().count("dnsmasq") == len(servers)
            await stack.dhcp.kill("minimega", "all")  # what was acknowledged was adopted; the next round wants it gone
            await stack.host_taps.delete("minimega", "all")
    async with opened():
        pass
    assert taps.names() == {"lo"}
    assert inhabitants() == []
    assert sorted(path.name for path in base.iterdir()) == ["attacher.log", "journal.db"]
