"""Sites of mesh nodes, and an event loop that lives as long as they do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.mesh_site import Site, mesh_site


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One loop for all of this folder: sites outlive single tests."""
    return "asyncio"


@pytest.fixture(scope="class", params=["tls", "open"])
async def site(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Site]:
    """Three nodes that see each other; with certificates, and in an open mesh."""
    async with mesh_site(3) as made:
        await (made.start_cluster() if request.param == "tls" else made.start_all())
        yield made
