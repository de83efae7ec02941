"""The Zenoh mesh keeps the promises of `Mesh`: one end per target, whatever happens; with certificates and without."""

import pytest

from tests.support.mesh_conformance import Eventful, Peaceful
from tests.support.requires import requires

pytestmark = [pytest.mark.root, pytest.mark.anyio, requires("ip", "unshare")]


class TestPeaceful(Peaceful):
    """The suite of both twins."""


class TestEventful(Eventful):
    """The suite of both twins."""
