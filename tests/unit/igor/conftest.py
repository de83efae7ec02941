"""The engine's tests get an engine of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.igor.engines import Igor


@pytest.fixture
def igor(tmp_path: Path) -> Iterator[Igor]:
    made = Igor(tmp_path)
    yield made
    made.store.close()
    for descriptor in made.files:
        os.close(descriptor)
