"""Hub mode: two routers, all others their clients; everybody sees and reaches everybody, also when a hub goes."""

import pytest

from megatools.minimega.mesh.mesh import Ending
from tests.support.mesh_conformance import asked, ends, parts, sees
from tests.support.mesh_site import mesh_site
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.anyio, requires("ip", "unshare")]


@pytest.mark.parametrize("secured", [True, pytest.param(False, marks=pytest.mark.full)])
async def test_two_hubs_and_four_leaves(secured: bool) -> None:
    async with mesh_site(6) as site:
        if secured:
            site.found_cluster()
        for name in site.names:
            own = {"cluster": str(site.directory(name))} if secured else {}
            await site.start(name, hubs=["kn1", "kn2"], **own)
        for node in site.nodes:
            await sees(node, *(set(site.names) - {node.name}))
        leaf = site.nodes[5]
        assert {link["peer"] for link in await leaf.ask("links")} <= {"kn1", "kn2"}
        assert (await leaf.ask("status"))["mode"] == "hub"
        for node in (leaf, site.nodes[0]):
            arrivals = await asked(node, site.names, "lines", b"2000")
            assert ends(arrivals) == dict.fromkeys(site.names, Ending.DONE)
            assert all(len(parts(arrivals, name)) == 2000 for name in site.names)
        await site.crash("kn1")
        left = site.nodes[1:]
        for node in left:
            await sees(node, *({other.name for other in left} - {node.name}))
        arrivals = await asked(leaf, [node.name for node in left], "echo")
        assert set(ends(arrivals).values()) == {Ending.DONE}
        await site.restart("kn1")
        await sees(leaf, *(set(site.names) - {leaf.name}))
        assert ends(await asked(leaf, ["kn1"], "echo")) == {"kn1": Ending.DONE}
