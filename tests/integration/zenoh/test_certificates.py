"""Who is in no mesh with certificates: who has none, a foreign one, a revoked one, or one of another name."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from megatools.hostkit.clock import SystemClock
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import Authority, found_cluster
from megatools.minimega.mesh.mesh import Ending
from tests.support.mesh_conformance import asked, ends, sees, until
from tests.support.mesh_node import MeshNode
from tests.support.mesh_site import ENGINE, Site, mesh_site
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.anyio, requires("ip", "unshare")]

_SETTLED_S = 3.0
"""Longer than any node needs to find another one and to connect."""


async def _stays(node: MeshNode, *names: str) -> None:
    """A node sees these, and nobody else for a while."""
    await sees(node, *names)
    before = len(node.events)
    await asyncio.sleep(_SETTLED_S)  # that nothing happens takes time to see
    assert node.events[before:] == []
    assert await node.members() == sorted(names)


async def test_strangers_are_left_alone() -> None:
    async with mesh_site(5) as site:
        authority = site.found_cluster("kn1", "kn2")
        found_cluster(CredentialStore(site.directory("kn3"), "kn3"), "lab", ())  # a cluster of the same name
        impostor = CredentialStore(site.directory("kn5"), "other")
        impostor.save(authority.credentials("other"))
        one = await site.start("kn1", cluster=str(site.directory("kn1")))
        two = await site.start("kn2", cluster=str(site.directory("kn2")))
        foreign = await site.start("kn3", cluster=str(site.directory("kn3")), broadcast=site.address("kn1"))
        bare = await site.start("kn4", broadcast=site.address("kn1"))
        false = await site.start("kn5", cluster=str(site.directory("kn5")), owner="other")
        await sees(false, "kn1", "kn2")  # it is a node of this cluster, under another name than its own
        async with asyncio.TaskGroup() as group:
            group.create_task(_stays(one, "kn2"))
            group.create_task(_stays(two, "kn1"))
            group.create_task(_stays(foreign))
            group.create_task(_stays(bare))
        for stranger in (foreign, bare):
            assert await stranger.ask("links") == []
            assert ends(await asked(stranger, ["kn1"], "note")) == {"kn1": Ending.LOST}
        dials = [stranger.dial(site.address("kn1")) for stranger in (foreign, bare)]
        for refusal in await asyncio.gather(*dials, return_exceptions=True):
            assert "no answer" in str(refusal)
        (end,) = await asked(false, ["kn1"], "note")
        assert (end.ending, end.kind) == (Ending.ERROR, "PermissionDenied")
        assert await one.done() == []


async def _revoke(site: Site, authority: Authority, name: str, at: list[MeshNode]) -> None:
    member = authority.member(name)
    assert member is not None
    revocation = msgspec.json.encode(member.revocation(SystemClock().now())).decode()
    async with asyncio.TaskGroup() as group:
        for node in at:
            group.create_task(node.ask("revoke", to=revocation))


async def test_the_revoked_are_cut_off_and_stay_out() -> None:
    async with mesh_site(3) as site:
        authority = await site.start_cluster()
        one, two, three = site.nodes
        started = asyncio.get_running_loop().time()
        before = {name: site.engine(name) for name in ("kn1", "kn2")}
        await _revoke(site, authority, "kn3", [one, two])
        await sees(three)
        assert asyncio.get_running_loop().time() - started < 5, "must be true at the end, 3"
        assert ends(await asked(three, ["kn1"], "note")) == {"kn1": Ending.LOST}

        async def replaced() -> bool:
            pids = {name: site.host(name).pids(ENGINE) for name in before}
            return all(pids[name] and before[name] not in pids[name] for name in before)

        await until(replaced)
        await sees(one, "kn2")
        await sees(two, "kn1")
        for node in (one, two):
            assert node.events.count(("kn3", True)) == 1, "it came again while the old engines were there"
        told = len(three.events)
        await asyncio.gather(_stays(one, "kn2"), _stays(two, "kn1"))
        assert three.events[told:] == [], "it was told of a member"
        assert ends(await asked(one, ["kn2"], "echo")) == {"kn2": Ending.DONE}
        await site.crash("kn3")
        await site.restart("kn3")
        await asyncio.gather(_stays(one, "kn2"), _stays(three))


async def test_a_daemon_joins_when_it_gets_a_certificate() -> None:
    async with mesh_site(2) as site:
        authority = site.found_cluster("kn1")
        one = await site.start("kn1", cluster=str(site.directory("kn1")))
        two = await site.start("kn2", cluster=str(site.directory("kn2")))
        assert (await two.ask("status"))["security"] == "off"
        await two.ask("enrol", to=authority.credentials("kn2").pem.decode())
        await sees(one, "kn2")
        await sees(two, "kn1")
        assert (await two.ask("status"))["security"] == "tls"
        await two.ask("leave")

        async def off() -> bool:
            return bool((await two.ask("status"))["security"] == "off")

        await until(off)
        await sees(one)
