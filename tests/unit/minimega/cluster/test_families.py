"""Commands of a namespace over its hosts: VMs are acted on where they are, and what they give comes back here."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.minimega.cluster.daemons import Daemon, daemons

pytestmark = pytest.mark.anyio


async def _spread(kn1: Daemon) -> None:
    """VM `a` on kn1, `b` on kn2, `c` on kn3, all in namespace lab."""
    for host, name in (("kn1", "a"), ("kn2", "b"), ("kn3", "c")):
        assert await kn1.errors(f"mesh send {host} vm config memory 3{host[-1]}", "lab") == []
        assert await kn1.errors(f"mesh send {host} vm launch kvm {name}", "lab") == []


async def _states(kn1: Daemon) -> list[list[str]]:
    shown = await kn1.text(".headers false .columns name,state vm info", "lab")
    return [[cell.strip() for cell in line.split("|")] for line in shown.splitlines()]


async def test_vms_are_acted_on_where_they_are(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        await _spread(kn1)
        assert await _states(kn1) == [
            ["kn1", "a", "BUILDING"],
            ["kn2", "b", "BUILDING"],
            ["kn3", "c", "BUILDING"],
        ]
        assert await kn1.text("vm start b", "lab") == ""
        assert await kn1.text("vm start a,c,z", "lab") == "kn1: vm not found: z"
        assert [state for *_, state in await _states(kn1)] == ["RUNNING"] * 3
        assert await kn1.errors("vm start z,y", "lab") == [("kn1", "vm not found: z")]
        assert await kn1.errors("vm start b", "lab") == [("kn2", "vm is already running")]
        assert await kn1.text("vm kill all", "lab") == ""
        assert [state for *_, state in await _states(kn1)] == ["QUIT"] * 3
        assert await kn1.text("vm flush", "lab") == ""
        assert await _states(kn1) == []


async def test_tags_over_hosts(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        await _spread(kn1)
        assert await kn1.text("vm tag b,c color red", "lab") == ""
        assert (await kn1.text("vm tag [b] color", "lab")) == ""
        assert (await kn1.text("vm tag b,c,z color", "lab")).splitlines() == [
            "host | name | value",
            "kn2  | b    | red",
            "kn3  | c    | red",
        ]
        assert await kn1.errors("vm tag b,c,z color", "lab") == [("kn2", "vm not found: z")]
        assert await kn1.errors("vm tag z color red", "lab") == [("kn1", "vm not found: z")]
        assert await kn1.text("clear vm tag all", "lab") == ""
        assert await kn1.text("vm tag all all", "lab") == ""


async def test_a_picture_of_a_vm_elsewhere_is_brought_here(tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        await _spread(kn1)
        assert await kn1.errors(f"vm screenshot b file {picture} 77", "lab") == [("kn2", "vm not running: 0")]
        assert not picture.exists()
        assert await kn1.text("vm start b", "lab") == ""
        assert await kn1.errors(f"vm screenshot b file {picture} 77", "lab") == []
        assert picture.read_bytes() == b"fake 77"
        assert await kn1.errors("vm screenshot b", "lab") == []
        assert (tmp_path / "kn2" / "0" / "screenshot.png").read_bytes() == b"fake 0"
        assert await kn1.errors(f"vm screenshot b file {tmp_path}", "lab") == [("kn1", f'cannot write "{tmp_path}"')]
        assert await kn1.errors("vm screenshot z", "lab") == [("kn1", "vm not found: z")]


async def test_the_configuration_of_a_vm_elsewhere_is_copied_here(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        await _spread(kn1)
        assert await kn1.errors("vm config clone c", "lab") == []
        assert await kn1.text("vm config memory", "lab") == "kn1: 33"
        assert await kn1.errors("vm config clone z", "lab") == [("kn1", "vm not found: z")]


async def test_hosts_tell_of_themselves(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (network, (kn1, *_others)):
        assert (await kn1.text("version", "lab")).startswith("kn[1-3]: minimega ")
        await kn1.groups("host", "lab")  # the first one watches the traffic for a moment, the next ones need not
        assert await kn1.text("host vms", "lab") == "kn[1-3]: 0"
        assert [error.partition(" ")[0] for _, error in await kn1.errors("host nosuch", "lab")] == ["no"] * 3
        rows = json.loads(await kn1.text(".json true .columns vmlimit host", "lab"))
        assert [(row["Host"], row["Tabular"]) for row in rows] == [(f"kn{n}", [["-1"]]) for n in (1, 2, 3)]
        assert (await kn1.text(".csv true .columns vmlimit,vms host", "lab")).splitlines() == [
            "host,vmlimit,vms",
            "kn1,-1,0",
            "kn2,-1,0",
            "kn3,-1,0",
        ]
        network.crash("kn3")
        assert await kn1.errors("version", "lab") == [("kn3", 'node "kn3" is not in the mesh')]
        assert (await kn1.text("version", "lab")).startswith("kn[1-2]: minimega ")


async def test_what_a_slow_host_says_comes_later(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3", silence_s=1.0) as (network, (kn1, *_others)):
        network.hanging.add("kn3")
        first, second = await kn1.groups(".columns vms host", "lab")
        assert [(response.host, response.tabular) for response in first] == [("kn1", [["0"]]), ("kn2", [["0"]])]
        assert [response.host for response in second] == ["kn3"]
        assert second[0].error.startswith('timed out: no sign of life from "kn3" for 1 s')
        network.hanging.discard("kn3")
        await asyncio.sleep(0)
        assert await kn1.errors("host vms", "lab") == []
