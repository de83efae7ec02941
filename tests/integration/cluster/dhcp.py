"""A DHCP client on an interface of a host of the lab."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.hosts import Host

_SCRIPT = '#!/bin/sh\n[ "$1" = bound ] && echo "ip=$ip mtu=$mtu"\nexit 0\n'


def lease(host: Host, interface: str, seconds: int = 20) -> dict[str, str]:
    """What the client is told, `ip` and `mtu`; nothing when no server answers."""
    script = Path(host.run("mktemp").strip())
    script.write_text(_SCRIPT)
    script.chmod(0o700)
    argv = ["busybox", "udhcpc", "-i", interface, "-O", "mtu", "-n", "-q", "-f", "-T", "1", "-t", str(seconds)]
    try:
        told = host.run(*argv, "-s", str(script), timeout_s=60)
    except subprocess.CalledProcessError:
        return {}
    finally:
        script.unlink()
    (line,) = [line for line in told.splitlines() if line.startswith("ip=")]
    return dict(word.split("=") for word in line.split())
