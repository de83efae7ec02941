"""Bad days of the engine and of the network: the mesh comes back by itself, and says the truth meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from megatools.minimega.mesh.mesh import Arrival, Ending
from tests.support.mesh_conformance import asked, ends, sees, until
from tests.support.mesh_site import Site, mesh_site
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.anyio, requires("ip", "unshare")]


async def test_a_killed_engine_comes_back_and_calls_are_lost_not_hung() -> None:
    async with mesh_site(3) as site:
        await site.start_all()
        one, two, three = site.nodes
        seen: list[Arrival] = []
        async for arrival in one.call(["kn1", "kn2", "kn3"], "count_slowly", b"6 200"):
            seen.append(arrival)
            if len(seen) == 3:
                os.kill(site.engine("kn2"), signal.SIGKILL)
        assert ends(seen) == {"kn1": Ending.DONE, "kn2": Ending.LOST, "kn3": Ending.DONE}
        for node in site.nodes:
            await sees(node, *({"kn1", "kn2", "kn3"} - {node.name}))
        seen.clear()
        async for arrival in two.call(["kn1", "kn2", "kn3"], "count_slowly", b"6 200"):
            seen.append(arrival)
            if len(seen) == 3:
                os.kill(site.engine("kn2"), signal.SIGKILL)
        assert ends(seen) == {"kn1": Ending.LOST, "kn2": Ending.DONE, "kn3": Ending.LOST}
        await sees(two, "kn1", "kn3")
        assert ends(await asked(three, ["kn2"], "echo")) == {"kn2": Ending.DONE}


@pytest.mark.full
async def test_an_engine_that_no_longer_answers_is_replaced() -> None:
    async with mesh_site(2) as site:
        await site.start_all()
        before = site.engine("kn2")
        os.kill(before, signal.SIGSTOP)

        async def replaced() -> bool:
            return site.host("kn2").pids("megatools.minimega.mesh.engine") not in ([before], [])

        await until(replaced, 60)
        await sees(site.nodes[0], "kn2")
        assert ends(await asked(site.nodes[0], ["kn2"], "echo")) == {"kn2": Ending.DONE}


async def test_a_host_without_an_address_joins_when_it_has_one_and_again_when_that_changes() -> None:
    async with mesh_site(2) as site:
        host = site.host("kn2")
        host.run("ip", "addr", "flush", "dev", "mgmt")
        one, two = await site.start("kn1"), await site.start("kn2")

        async def waits() -> bool:
            return "no address" in (await two.ask("status"))["detail"]

        await until(waits)
        for address in (host.address, "10.99.7.7"):
            host.run("ip", "addr", "flush", "dev", "mgmt")
            host.run("ip", "addr", "add", f"{address}/16", "dev", "mgmt")
            host.run("ip", "route", "replace", "224.0.0.0/4", "dev", "mgmt")

            async def is_there(address: str = address) -> bool:
                return [m["address"] for m in await one.ask("members")] == [f"{address}:9001"]

            await until(is_there, 60)
            await sees(two, "kn1")
            assert ends(await asked(one, ["kn2"], "echo")) == {"kn2": Ending.DONE}


async def test_two_nodes_of_one_name_cannot_be_called_until_one_goes() -> None:
    async with mesh_site(3) as site:
        one = await site.start("kn1")
        await site.start("kn2")
        await sees(one, "kn2")
        await site.start("kn3", claimed="kn2")
        await sees(one, "kn2", "kn2")
        assert {member["doubled"] for member in await one.ask("members")} == {True}
        (end,) = await asked(one, ["kn2"], "echo")
        assert (end.ending, end.error) == (Ending.ERROR, 'several nodes are named "kn2"')
        assert site.address("kn2") in end.hint
        assert site.address("kn3") in end.hint
        await site.crash("kn3")
        await sees(one, "kn2")
        assert ends(await asked(one, ["kn2"], "echo")) == {"kn2": Ending.DONE}


@pytest.mark.full
async def test_without_multicast_a_seed_is_enough_and_partitions_heal() -> None:
    async with mesh_site(4) as site:
        seed = site.address("kn1")
        for name in site.names:
            site.host(name).run("ip", "link", "set", "mgmt", "multicast", "off")
            await site.start(name, broadcast=seed)
        for node in site.nodes:
            await sees(node, *(set(site.names) - {node.name}))
        await site.crash("kn1")
        await site.cut("kn4")
        two, three, four = site.nodes[1:]
        await sees(four)
        await sees(two, "kn3")
        await site.mend("kn4")
        await sees(two, "kn3", "kn4")
        await sees(three, "kn2", "kn4")
        await sees(four, "kn2", "kn3")


async def test_contexts_do_not_mix() -> None:
    async with mesh_site(4) as site:
        for name, context in zip(site.names, ("red", "red", "blue", "blue"), strict=True):
            await site.start(name, context=context)
        one, two, three, four = site.nodes
        await sees(one, "kn2")
        await sees(two, "kn1")
        await sees(three, "kn4")
        await sees(four, "kn3")
        for node, foreign in ((one, "kn3"), (four, "kn1")):
            with pytest.raises(RuntimeError, match="another mesh"):
                await node.dial(site.address(foreign))
        await sees(one, "kn2")
        await sees(three, "kn4")
        for node, peer in ((one, "kn2"), (two, "kn1"), (three, "kn4"), (four, "kn3")):
            assert {link["peer"] for link in await node.ask("links")} == {peer}

        async def apart() -> bool:
            """No host is connected to one of the other mesh, member or not."""
            reds, blues = ([site.address(name) for name in names] for names in (("kn1", "kn2"), ("kn3", "kn4")))
            seen = [site.host(name).run("ss", "-Htn", "state", "established") for name in ("kn1", "kn2")]
            assert any(red in text for red in reds for text in seen)
            return not any(blue in text for blue in blues for text in seen)

        await until(apart)


@pytest.mark.parametrize("secured", [True, False])
async def test_what_can_be_seen_on_the_wire(secured: bool, tmp_path: Path) -> None:
    words = [b"kn1", b"kn2", b"kn3", b"secret-context", b"megatools", b"echo", b"a question"]
    async with mesh_site(3) as site:
        settings = {"context": "secret-context", "lease_s": 1.0}
        with site.lab.capture(site.host("kn3"), tmp_path / "all.pcap", "udp or tcp"):
            if secured:
                site.found_cluster()
            for name in site.names:
                await site.start(name, **({"cluster": str(site.directory(name))} if secured else {}), **settings)
            for node in site.nodes:
                await sees(node, *(set(site.names) - {node.name}))
            await asked(site.nodes[2], ["kn1", "kn2"], "echo", b"a question")
        datagrams, streams = await _captured(site, tmp_path / "all.pcap")
    locators = [f"/{address}:9000".encode() for address in map(site.address, site.names)]
    assert any(locator in datagrams for locator in locators)
    assert [word for word in words if word in datagrams] == []
    assert len(streams) > 1000
    seen = [word for word in words if word in streams]
    assert seen == ([] if secured else [b"kn1", b"kn2", b"kn3", b"echo", b"a question"])


async def _captured(site: Site, trace: Path) -> tuple[bytes, bytes]:
    """All UDP packets and all TCP packets."""
    found = []
    for protocol in ("udp", "tcp"):
        part = trace.with_suffix(f".{protocol}")
        site.host("kn3").run("tcpdump", "-r", str(trace), "-w", str(part), protocol)
        found.append(part.read_bytes())
    return found[0], found[1]
