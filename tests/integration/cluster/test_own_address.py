"""A host knows the address others reach it at: from its default route, from what it has, or because it was told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import hosts
from tests.support.requires import requires

pytestmark = [pytest.mark.root, requires("ip", "unshare")]


def test_own_address() -> None:
    with hosts.lab(1) as lab:
        host = lab.hosts[0]

        def own(setting: str = "") -> list[str]:
            return host.run(sys.executable, "-m", "tests.integration.cluster.addresses", setting).split()

        host.run("ip", "link", "add", "first", "type", "veth", "peer", "name", "second")
        host.run("ip", "addr", "add", "10.1.0.1/24", "dev", "first")
        assert own() == [host.address, "mgmt", "1500"]
        assert own("10.1.0.1") == ["10.1.0.1", "first", "1500"]
        host.run("ip", "route", "del", "default")
        assert own() == [host.address, "mgmt", "1500"]
        with pytest.raises(subprocess.CalledProcessError):
            own("10.1.0.9")
        with pytest.raises(subprocess.CalledProcessError):
            own("frog")
