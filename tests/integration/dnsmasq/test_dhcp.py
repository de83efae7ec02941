"""Real dnsmasq servers: bound or refused with the reason, adopted after a crash, told more while they run."""

import asyncio
import os
import signal
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest

from megatools.hostkit import netlink, proc
from megatools.hostkit.errors import CommandFailed, InvalidInput, MegaError, NotFound, hint_of
from megatools.minimega.net.dhcp import Dhcp
from megatools.minimega.state.journal import Journal
from tests.support import netns
from tests.support.requires import requires

pytestmark = [pytest.mark.anyio, pytest.mark.root, requires("dnsmasq", "ip", "busybox")]
NS = "minimega"
SERVER = {"listen": "10.5.0.1", "low": "10.5.0.2", "high": "10.5.0.9"}


@pytest.fixture
def base() -> Iterator[Path]:
    """A base directory; the test runs in a network namespace with 10.5.0.1 on one end of a cable."""
    with netns.base_directory() as directory, netns.entered():
        proc.run_sync(["ip", "link", "add", "here", "type", "veth", "peer", "name", "there"], timeout_s=20)
        for end in ("here", "there"):
            proc.run_sync(["ip", "link", "set", end, "up"], timeout_s=20)
        netlink.add_address("here", ip_interface("10.5.0.1/24"))
        yield directory


@pytest.fixture
def journal(base: Path) -> Iterator[Journal]:
    journal = Journal(base / "journal.db", "host")
    yield journal
    journal.close()


async def ask(mac: str, directory: Path) -> str:
    """What a client with this MAC is offered on the other end of the cable."""
    script = directory / "udhcpc"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "$ip $mtu"\nexit 0\n')
    script.chmod(0o700)
    with netns.named() as name:
        await proc.run(["ip", "link", "set", "there", "address", mac, "netns", name], timeout_s=20)
        await proc.run(["ip", "-n", name, "link", "set", "there", "up"], timeout_s=20)
        client = ["busybox", "udhcpc", "-f", "-n", "-q", "-i", "there", "-s", str(script), "-t", "8", "-T", "2"]
        done = await proc.run([*netns.exec_words(name), *client, "-O", "mtu"], timeout_s=60)
        await proc.run(["ip", "-n", name, "link", "set", "there", "netns", str(os.getpid())], timeout_s=20)
    return done.text.strip()


async def test_start_list_lease_and_kill(base: Path, journal: Journal) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    dhcp = Dhcp(base, journal, told.put_nowait)
    number = await dhcp.start(NS, **SERVER)
    (row,) = await dhcp.rows(NS)
    assert (row.id, row.address, row.min, row.max) == (number, "10.5.0.1", "10.5.0.2", "10.5.0.9")
    assert Path(f"/proc/{row.pid}/comm").read_text() == "dnsmasq\n"
    assert await dhcp.rows("other") == []
    await dhcp.add_static(NS, "all", "52:54:00:00:00:07", "10.5.0.7")
    assert (await ask("52:54:00:00:00:07", base)).startswith("10.5.0.7")
    async with asyncio.timeout(20):
        assert await told.get() == "52:54:00:00:00:07"
    assert dhcp.lease("52:54:00:00:00:07") == "10.5.0.7"
    with pytest.raises(NotFound, match=r"^invalid id$"):
        await dhcp.kill(NS, "99")
    with pytest.raises(NotFound, match=r"^invalid id$"):
        await dhcp.kill("other", str(number))
    identity = proc.identity_of(row.pid)
    await dhcp.kill(NS, str(number))
    assert not proc.is_alive(identity)
    assert list(base.glob("dnsmasq-*")) == []
    await dhcp.close(remove=True)


async def test_why_it_cannot_start(base: Path, journal: Journal) -> None:
    dhcp = Dhcp(base, journal)
    with pytest.raises(CommandFailed) as no_address:
        await dhcp.start(NS, listen="10.6.0.1", low="10.6.0.2", high="10.6.0.9")
    assert "Cannot assign requested address" in str(no_address.value.__cause__)
    assert "tap create" in hint_of(no_address.value)
    await dhcp.start(NS, **SERVER)
    with pytest.raises(CommandFailed) as in_use:
        await dhcp.start(NS, **SERVER)
    assert "in use" in str(in_use.value.__cause__)
    for bad in ({"listen": "x"}, {"low": "10.5.0.300"}, {"low": "10.5.0.10"}, {"high": "fd00::1"}):
        with pytest.raises(InvalidInput):
            await dhcp.start(NS, **{**SERVER, **bad})
    with pytest.raises(NotFound, match=r"nowhere"):
        await dhcp.start_file(NS, "/nowhere")
    broken = base / "broken.conf"
    broken.write_text("no-such-option\n")
    with pytest.raises(CommandFailed) as refused:
        await dhcp.start_file(NS, str(broken))
    assert "bad option" in str(refused.value.__cause__)
    assert len(list(base.glob("dnsmasq-*"))) == 1
    await dhcp.close(remove=True)


async def test_a_server_from_a_file(base: Path, journal: Journal) -> None:
    file = base / "mine.conf"
    file.write_text("port=0\ninterface=here\ndhcp-range=10.5.0.5,10.5.0.5\n")
    dhcp = Dhcp(base, journal)
    await dhcp.start_file(NS, str(file))
    assert (await ask("52:54:00:00:00:08", base)).startswith("10.5.0.5")
    await dhcp.close(remove=True)


async def test_the_next_daemon_adopts_servers(base: Path, journal: Journal) -> None:
    first = Dhcp(base, journal)
    await first.start(NS, **SERVER)
    await first.add_option(NS, "all", "option:mtu,1400")
    (row,) = await first.rows(NS)
    await first.close(remove=False)
    second = Dhcp(base, journal)
    await second.recover()
    assert await second.rows(NS) == [row]
    ((_, live),) = await second.live(NS, "all")
    assert live.options == ("option:mtu,1400",)
    os.kill(row.pid, signal.SIGKILL)
    assert await proc.wait_gone(proc.Identity(row.pid, proc.start_ticks(row.pid) or 0, proc.boot_id()), timeout_s=20)
    assert await second.rows(NS) == []  # it died: listed no more
    third = Dhcp(base, journal)
    await third.recover()
    assert await third.rows(NS) == []
    assert list(base.glob("dnsmasq-*")) == []


async def test_a_server_nobody_was_told_of_is_ended(base: Path, journal: Journal) -> None:
    """The daemon died between starting it and journaling it."""
    lost = Dhcp(base, journal)
    await lost.start(NS, **SERVER)
    (row,) = await lost.rows(NS)
    identity = proc.identity_of(row.pid)
    record = journal.read("dhcp")[0]
    await lost.close(remove=False)
    empty = Journal(base / "empty.db", "host")
    after = Dhcp(base, empty)
    await after.recover()
    empty.close()
    assert not proc.is_alive(identity)
    assert record.id == "0"


@pytest.mark.parametrize(
    "add",
    [
        lambda dhcp: dhcp.add_static(NS, "all", "zz", "10.5.0.7"),
        lambda dhcp: dhcp.add_static(NS, "all", "52:54:00:00:00:07", "x"),
        lambda dhcp: dhcp.add_dns(NS, "all", "10.5.0.7", "a b"),
        lambda dhcp: dhcp.add_dns(NS, "all", "10.5.0.7", "a\nb"),
        lambda dhcp: dhcp.add_upstream(NS, "all", "x"),
        lambda dhcp: dhcp.add_option(NS, "all", "a\nb"),
        lambda dhcp: dhcp.add_option(NS, "7", "option:mtu,1400"),
    ],
)
async def test_bad_additions_change_nothing(base: Path, journal: Journal, add) -> None:
    dhcp = Dhcp(base, journal)
    await dhcp.start(NS, **SERVER)
    with pytest.raises(MegaError):
        await add(dhcp)
    ((_, live),) = await dhcp.live(NS, "all")
    assert live == type(live)()
    await dhcp.close(remove=True)
