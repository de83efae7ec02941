"""`mesh status`, `list`, `dot`, `dial`, `hangup`, `degree`, `timeout`, and the classic words for them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from megatools.minimega.cluster.topology import SERVICE, adjacency, dot_text
from megatools.minimega.mesh.mesh import Caller, Link
from tests.unit.minimega.cluster.daemons import daemons

pytestmark = pytest.mark.anyio


async def test_status_says_that_an_open_mesh_is_open(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):
        ((response,),) = await kn1.groups("mesh status")
        assert response.header == "size degree peers context port security mode remarks".split()
        assert response.tabular == [
            [
                *"3 0 2 memory 0 open clique".split(),
                "anyone on this network can command this host; "
                "every node is connected to every other: degree has no effect",
            ]
        ]
        assert await kn1.text("mesh_status") == "mesh size 3\ndegree 0\nclients connected to this node: 2"


async def test_connections_to_who_is_no_member_are_not_counted(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, *_others)):

        async def links() -> list[Link]:
            return [Link("kn1", "kn2"), Link("kn1", "kn3"), Link("kn1", "kn3"), Link("kn1", "kn7#1f")]

        kn1.mesh.links = links  # type: ignore[method-assign]
        ((response,),) = await kn1.groups("mesh status")
        assert (response.tabular or [[]])[0][2] == "2"


async def test_lists(tmp_path: Path) -> None:
    text = "kn1\n |--kn2\n |--kn10\nkn2\n |--kn1\n |--kn10\nkn10\n |--kn1\n |--kn2"
    async with daemons(tmp_path, "kn1", "kn2", "kn10") as (_, (kn1, *_others)):
        assert await kn1.text("mesh list") == f"kn1: {text}"
        assert await kn1.text("mesh_list") == text
        assert await kn1.text(".annotate false mesh list all") == "kn1\nkn2\nkn10"
        assert await kn1.text(".annotate false mesh list peers") == "kn2\nkn10"


async def test_a_connection_that_is_missing_is_seen_from_anywhere(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (_, (kn1, kn2, _kn3)):
        assert await kn2.errors("mesh hangup kn3") == []
        assert await kn1.text("mesh_list") == "kn1\n |--kn2\n |--kn3\nkn2\n |--kn1\nkn3\n |--kn1"
        assert await kn2.errors("mesh_dial kn3") == []
        assert (await kn1.text("mesh_list")).count("--") == 6


async def test_a_node_that_does_not_tell_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("megatools.minimega.cluster.topology.ANSWER_S", 0.05)
    async with daemons(tmp_path, "kn1", "kn2", "kn3") as (network, (kn1, *_others)):
        network.hanging.add("kn3")
        assert await kn1.errors("mesh list") == [("kn3", "no answer within 0.05 s")]
        assert await kn1.text("mesh_list") == "kn1\n |--kn2\n |--kn3\nkn2\n |--kn1\n |--kn3\nkn3\n |--kn1\n |--kn2"


async def test_a_node_of_another_version_is_named(tmp_path: Path) -> None:
    async def riddle(_caller: Caller, _request: bytes) -> AsyncGenerator[bytes, None]:
        yield b"\xc1"

    async with daemons(tmp_path, "kn1", "kn2") as (network, (kn1, *_others)):
        network.nodes["kn2"].serve(SERVICE, riddle)
        ((host, error),) = await kn1.errors("mesh list")
        assert host == "kn2" and error.startswith("its answer is unreadable, it may run another version")
        assert await kn1.text("mesh_list") == "kn1\n |--kn2\nkn2\n |--kn1"


async def test_dot(tmp_path: Path) -> None:
    file = tmp_path / "mesh.dot"
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, *_others)):
        assert await kn1.errors(f"mesh dot {file}") == []
        assert file.read_text() == 'graph minimega {\n  "kn1";\n  "kn2";\n  "kn1" -- "kn2";\n}\n'
        assert await kn1.errors(f"mesh_dot {tmp_path}/no/such") == [
            ("kn1", f'directory "{tmp_path}/no" does not exist')
        ]


def test_a_link_one_end_tells_of_is_one() -> None:
    peers = adjacency(["b"], [Link("b", 'a"x'), Link('a"x', "b")])
    assert peers == {'a"x': ["b"], "b": ['a"x']}
    assert '"a\\"x" -- "b";' in dot_text(peers)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("mesh dial kn1", "cannot mesh dial yourself"),
        ("mesh dial localhost", "cannot mesh dial yourself"),
        ("mesh dial kn2", "already connected to kn2"),
        ("mesh dial kn9", 'no answer from "kn9"'),
        ("mesh hangup kn9", "no such client kn9"),
        ("mesh_hangup kn9", "no such client kn9"),
        ("mesh degree x", 'invalid degree "x"'),
        ("mesh timeout x", 'invalid timeout "x"'),
        ("mesh timeout 0.5", "timeout of 0.5 s is too short"),
        ("mesh_msa_timeout x", 'invalid timeout "x"'),
    ],
)
async def test_what_cannot_be(tmp_path: Path, line: str, error: str) -> None:
    async with daemons(tmp_path, "kn1", "kn2") as (_, (kn1, _kn2)):
        assert await kn1.errors(line) == [("kn1", error)]


async def test_numbers_are_kept_and_cleared(tmp_path: Path) -> None:
    async with daemons(tmp_path, "kn1") as (_, (kn1,)):
        for line, shown in (
            ("mesh degree", "kn1: 0"),
            ("mesh_degree 2", ""),
            ("mesh_degree", "2"),
            ("clear mesh_degree", ""),
            ("mesh degree", "kn1: 0"),
            ("mesh timeout", "kn1: 5s"),
            ("mesh timeout 90", ""),
            ("mesh_timeout", "1m30s"),
            ("mesh timeout 0", ""),
            ("mesh timeout", "kn1: unlimited"),
            ("clear mesh_timeout", ""),
            ("mesh_timeout", "5s"),
            ("mesh_msa_timeout", "10"),
            ("mesh_msa_timeout 7", ""),
            ("mesh_msa_timeout", "7"),
            ("clear mesh_msa_timeout", ""),
            ("mesh_msa_timeout", "60"),
        ):
            assert await kn1.text(line) == shown, line
