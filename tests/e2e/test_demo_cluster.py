"""`scripts/demo --cluster 3 --once`, as a user runs it, in a network namespace of the test's own."""

import re
import subprocess

import pytest

from tests.support.images import REPOSITORY
from tests.support.lab import lab
from tests.support.requires import requires

pytestmark = [requires("qemu-system-x86_64", "mmdebstrap", "ovs-vswitchd"), pytest.mark.root, pytest.mark.timeout(900)]


@pytest.mark.usefixtures("image")  # its packages are in the cache then: no network reaches into the namespace
def test_three_hosts_act_as_one_and_nothing_is_left() -> None:
    with lab() as where:
        before = where.links()
        namespaces = subprocess.run(["ip", "netns", "list"], capture_output=True, check=True).stdout
        done = subprocess.run(
            [*where.prefix, str(REPOSITORY / "scripts/demo"), "--cluster", "3", "--once"],
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        assert "verified: 6 VMs on 3 hosts" in done.stdout
        crossed = set(re.findall(r"verified: vm\d on (kn\d) pings vm\d \([0-9.]+\) on (kn\d)", done.stdout))
        assert crossed == {("kn1", "kn2"), ("kn2", "kn3"), ("kn3", "kn1")}
        assert "typed on the page of kn1" in done.stdout
        assert where.links() == before
        assert subprocess.run(["ip", "netns", "list"], capture_output=True, check=True).stdout == namespaces
