"""Commands sent to other daemons, in the modern and the classic words; hosts hang, crash and are not there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from megatools.minimega.mesh.mesh import Role
from tests.unit.minimega.cluster.daemons import Daemon, daemons

pytestmark = pytest.mark.anyio


async def _launch(daemon: Daemon, *names: str) -> None:
    assert await daemon.errors(f"vm launch kvm {','.join(names)}") == []


async def test_equal_answers_are_compressed_and_others_told_apart(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3", "kn10") as (_, (kn1, *_others)):
        assert await kn1.text("mesh send all echo hi") == "kn[2-3,10]: hi"
        assert await kn1.text("mesh send all hostname") == "kn10: kn10\nkn2: kn2\nkn3: kn3"
        assert await kn1.text(".annotate false mesh send kn[2-3] echo hi") == "hi"
        assert await kn1.text(".compress false mesh send kn[2-3] echo hi") == "kn2: hi\nkn3: hi"


async def test_tables_of_many_hosts_are_one(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, kn2, kn3)):
        await _launch(kn2, "a")
        await _launch(kn3, "b")
        (group,) = await kn1.groups("mesh send all .columns name,state vm info")
        assert [(response.host, response.tabular) for response in group] == [
            ("kn2", [["a", "BUILDING"]]),
            ("kn3", [["b", "BUILDING"]]),
        ]
        assert (await kn1.text("mesh send all .columns name,state vm info")).splitlines() == [
            "host | name | state",
            "kn2  | a    | BUILDING",
            "kn3  | b    | BUILDING",
        ]


async def test_this_host_may_be_in_a_list(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, _kn2)):
        assert await kn1.text("mesh send kn[1-2] echo hi") == "kn[1-2]: hi"
        assert await kn1.text("mesh send localhost,kn2 echo hi") == "kn[1-2]: hi"
        assert await kn1.text("mesh send kn1 hostname") == "kn1: kn1"


async def test_hosts_that_are_not_there_are_named(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, _kn2)):
        (group,) = await kn1.groups("mesh send kn[2,7-8] echo hi")
        assert [(r.host, r.response, r.error) for r in group] == [
            ("kn2", "hi", ""),
            ("kn7", "", 'node "kn7" is not in the mesh'),
            ("kn8", "", 'node "kn8" is not in the mesh'),
        ]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("mesh send all,kn2 version", "wildcard included amongst list of recipients"),
        ("mesh send kn[1-2 version", "unterminated '['"),
        ('mesh send "" version', "no hosts named"),
        ("mesh send kn2 mesh send kn1 version", "cannot run `mesh send` via meshage"),
        ("mesh send kn2 .filter a=b mesh send kn1 version", "cannot run `mesh send` via meshage"),
        ("mesh send kn2 read /tmp/x", "cannot run `read` via meshage"),
        ("mesh send kn2 namespace lab mesh send all version", "cannot run `mesh send` via meshage"),
        ("mesh_set kn2 mesh_set kn1 version", "compound mesh commands are not allowed"),
        ("mesh_set kn2 mesh_broadcast version", "compound mesh commands are not allowed"),
        ("mesh send kn2 mesh_broadcast version", "compound mesh commands are not allowed"),
        ("mesh_set kn2", "malformed command"),
        ("mesh_set annotate kn2 breadth", "malformed command"),
        ("mesh_broadcast", "malformed command"),
        ("mesh_broadcast nonsense 5", "invalid command: `nonsense 5`"),
    ],
)
async def test_what_cannot_be_sent(tmp_path: Path, line: str, error: str) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, _kn2)):
        assert await kn1.errors(line) == [("kn1", error)]


async def test_all_of_nobody_is_an_error(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1") as (_, (kn1,)):
        assert await kn1.errors("mesh send all version") == [("kn1", "no other node is in the mesh")]


async def test_a_sent_command_acts_on_its_host_only(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, kn2, kn3)):
        assert await kn1.errors("mesh send kn2 vm launch kvm a", "lab") == []
        assert await kn1.errors("mesh send kn3 vm launch kvm b", "lab") == []
        assert [vm.name for node in (kn1, kn2, kn3) for vm in node.fleet.machines()] == ["a", "b"]
        assert len((await kn1.text(".columns name vm info", "lab")).splitlines()) == 1 + 2
        assert (await kn1.text("mesh send kn2 .columns name vm info", "lab")).splitlines() == [
            "host | name",
            "kn2  | a",
        ]
        assert await kn1.errors("mesh send kn2 vm kill b", "lab") == [("kn2", "vm not found: b")]
        assert await kn1.errors("vm kill b", "lab") == []


async def test_launches_of_other_hosts(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, kn2, kn3)):
        assert await kn1.errors("mesh send all vm config memory 77") == []
        assert await kn1.errors("mesh_broadcast vm_launch 5") == []
        for daemon in (kn2, kn3):
            assert [vm.site.plan.config.memory_mib for vm in daemon.fleet.machines()] == [77] * 5
        assert kn1.fleet.machines() == []
        listed = (await kn1.text("mesh_set kn[2-3] vm_info [host,name,state]")).splitlines()
        assert listed[0].split() == ["host", "|", "name", "|", "state"]
        assert len(listed) == 1 + 10
        assert listed[1].split() == ["kn2", "|", "vm-0", "|", "building"]


async def test_classic_answers_stand_below_each_other(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        assert await kn1.text("mesh_set kn[2-3] unordered echo hi") == "hi\nhi"
        assert await kn1.text("mesh_set annotate kn[2-3] depth hostname") == "[kn2] kn2\n[kn3] kn3"
        assert await kn1.text("mesh_broadcast annotate echo hi") == "[kn2] hi\n[kn3] hi"
        assert await kn1.text("mesh_set kn1 hostname") == "kn1"
        assert await kn1.errors("mesh_set kn9 hostname") == [("kn9", 'node "kn9" is not in the mesh')]


async def test_variables_are_the_senders(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, kn2)):
        kn1.environment |= {"WHO": "$OTHER", "AREA": "51"}
        kn2.environment |= {"WHO": "kn2", "OTHER": "other", "ONLY": "there"}
        assert await kn1.text("mesh send kn[1-2] echo $WHO ${AREA} [$ONLY]") == "kn[1-2]: $OTHER 51 []"
        assert await kn1.text(".preprocess false mesh send kn[1-2] echo $WHO") == "kn[1-2]: $WHO"
        assert await kn1.text('mesh send kn2 echo "two  words" \'#\' "\\"q\\""') == 'kn2: two  words # "q"'


async def test_an_empty_group_is_harmless(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, _kn2)):
        assert await kn1.text("mesh send all .filter host=nobody vm info") == ""
        assert await kn1.text("mesh send all echo still") == "kn2: still"


async def test_an_answer_of_ten_thousand_lines(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(10_000))
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        assert await kn1.text(f"mesh send all shell {words}") == f"kn[2-3]: {words}"


async def test_other_answers_are_shown_while_one_hangs_and_it_is_named_at_the_deadline(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3", silence_s=1.0) as (network, (kn1, *_others)):
        network.hanging.add("kn2")
        groups = await kn1.groups("mesh send all hostname")
        assert [[(r.host, r.response, r.error.partition("\n")[0]) for r in group] for group in groups] == [
            [("kn3", "kn3", "")],
            [("kn2", "", 'timed out: no sign of life from "kn2" for 1 s')],
        ]


async def test_a_host_that_dies_in_the_middle_is_named(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (network, (kn1, kn2, kn3)):
        kn3.go_on.set()
        task = asyncio.create_task(kn1.errors("mesh send all shell wait"))
        await kn2.begun.wait()
        network.crash("kn2")
        ((host, error),) = await task
        assert host == "kn2" and error.startswith('node "kn2" was lost after ')


async def test_a_host_cut_off_in_the_middle_is_named(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (network, (kn1, kn2, kn3)):
        kn3.go_on.set()
        task = asyncio.create_task(kn1.groups("mesh send kn[2-3] shell wait"))
        await kn2.begun.wait()
        network.cut("kn1", "kn2")
        responses = [response for group in await task for response in group]
        assert [(one.host, one.response) for one in responses if not one.error] == [("kn3", "wait")]
        (lost,) = [one for one in responses if one.error]
        assert lost.host == "kn2" and lost.error.endswith("hint: it may still do what it was asked")
        network.heal()
        kn2.go_on.set()
        assert await kn1.text("mesh send kn2 hostname") == "kn2: kn2"


async def test_any_number_of_sends_at_once_and_nothing_else_waits(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, kn2)):
        waiting = [asyncio.create_task(kn1.text(f"mesh send kn2 shell wait {number}")) for number in range(20)]
        await kn2.begun.wait()
        assert await kn1.text("mesh send kn2 hostname") == "kn2: kn2"
        assert await kn1.text("echo here") == "kn1: here"
        assert await kn2.text("echo there") == "kn2: there"
        kn2.go_on.set()
        assert await asyncio.gather(*waiting) == [f"kn2: wait {number}" for number in range(20)]


async def test_two_hosts_send_to_each_other_at_once(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, kn2)):
        kn1.go_on.set()
        kn2.go_on.set()
        lines = [one.text(f"mesh send all shell wait {n}") for n in range(10) for one in (kn1, kn2)]
        answers = await asyncio.gather(*lines)
        assert answers == [f"{name}: wait {n}" for n in range(10) for name in ("kn2", "kn1")]


async def test_a_sender_that_may_only_read(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", roles={"kn2": (Role.READ_ONLY, "")}) as (_, (kn1, kn2)):
        await _launch(kn1, "a")
        assert (await kn2.text("mesh send kn1 .columns name vm info")).splitlines()[1] == "kn1  | a"
        assert await kn2.text("mesh send kn1 echo hi") == "kn1: hi"
        for line in (
            "vm kill a",
            "vm_kill a",
            "vm config memory 5",
            "vm launch kvm 1",
            "shell echo",
            ".csv true",
            "quit",
            "mesh timeout 3",
            "mesh_msa_timeout 4",
            "clear namespace minimega",
            "namespace lab",
        ):
            assert await kn2.errors(f"mesh send kn1 {line}") == [("kn1", 'node "kn2" may only read')], line
        assert [vm.state.value for vm in kn1.fleet.machines()] == ["BUILDING"]


async def test_a_sender_limited_to_a_namespace(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", roles={"kn2": (Role.FULL, "lab")}) as (_, (kn1, kn2)):
        assert await kn2.errors("mesh send kn1 vm launch kvm a", "lab") == []
        assert [(vm.namespace, vm.name) for vm in kn1.fleet.machines()] == [("lab", "a")]
        elsewhere = [("kn1", 'node "kn2" may not act in namespace "minimega"')]
        assert await kn2.errors("mesh send kn1 vm info") == elsewhere
        within = [("kn1", 'node "kn2" may only act within namespace "lab"')]
        for line in ("shell echo", "quit", "clear namespace minimega", "namespace minimega vm info"):
            assert await kn2.errors(f"mesh send kn1 {line}", "lab") == within, line


async def test_a_message_that_is_no_command(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, _kn2)):
        arrivals = [arrival async for arrival in kn1.mesh.call(["kn2"], "command", b"junk", timeout_s=5)]
        assert [(a.kind, a.error.partition(":")[0]) for a in arrivals] == [
            ("InvalidInput", '"kn2" does not understand the command')
        ]
