"""The Zenoh mesh keeps the promises of `Mesh`: one end per target, whatever happens; with certificates and without."""

from collections.abc import AsyncIterator

import pytest

from tests.support.mesh_conformance import Eventful, Peaceful
from tests.support.mesh_site import Site, mesh_site
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.anyio, requires("ip", "unshare")]


@pytest.fixture(scope="class", params=["tls", pytest.param("open", marks=pytest.mark.full)])
async def site(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Site]:
    """Three nodes that see each other; with certificates, and in an open mesh."""
    async with mesh_site(3) as made:
        await (made.start_cluster() if request.param == "tls" else made.start_all())
        yield made


class TestPeaceful(Peaceful):
    """The suite of both twins."""


class TestEventful(Eventful):
    """The suite of both twins."""
