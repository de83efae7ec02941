"""What every test gets: asyncio for async tests, and what happens when something a test needs is absent."""

import os

import pytest

from tests.support import requires

_CI = os.environ.get("CI", "") not in ("", "0", "false")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, like the daemon."""
    return "asyncio"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test on a laptop, and fail it in CI, when the machine lacks what it is marked to need (R11)."""
    missing = requires.missing(item)
    if not missing:
        return
    reason = f"needs {', '.join(missing)}"
    if _CI:
        pytest.fail(f"{reason}; this is CI, where nothing may be missing (scripts/install --dev)", pytrace=False)
    pytest.skip(reason)
