"""An event loop that lives as long as the sites of this folder, which outlive single tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """As everywhere, but for longer."""
    return "asyncio"
