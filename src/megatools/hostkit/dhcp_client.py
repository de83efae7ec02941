"""Get an address for an interface of this host by DHCP, once: through udhcpc, on its own or in busybox.

Anyone may use it. The client only asks; whoever called sets the address. It does not stay to renew the lease.
"""

from __future__ import annotations

import tempfile
from ipaddress import IPv4Interface
from pathlib import Path

from megatools.hostkit import proc
from megatools.hostkit.errors import NotFound, Unavailable

_TRIES = 4
_EACH_S = 2
_DEADLINE_S = 30.0
_SCRIPT = '#!/bin/sh\n[ "$1" = bound ] && echo "lease $ip/$mask"\nexit 0\n'


async def obtain(interface: str) -> IPv4Interface:
    """The address a server offers and confirms. Raises NotFound (no client), Unavailable (no server answers)."""
    argv = _client()
    with tempfile.TemporaryDirectory(prefix="megatools-dhcp-") as directory:
        script = Path(directory) / "script"
        script.write_text(_SCRIPT)
        script.chmod(0o700)
        words = ["-f", "-n", "-q", "-i", interface, "-s", str(script), "-t", str(_TRIES), "-T", str(_EACH_S)]
        done = await proc.run([*argv, *words], timeout_s=_DEADLINE_S, check=False)
    lease = parse_lease(done.text)
    if done.status != 0 or lease is None:
        raise Unavailable(
            f'no DHCP server answered on "{interface}" within {_TRIES * _EACH_S} s',
            hint="is one running on this VLAN? see dnsmasq",
        )
    return lease


def parse_lease(output: str) -> IPv4Interface | None:
    """The lease the script printed; None when there is none."""
    for line in output.splitlines():
        if line.startswith("lease "):
            try:
                return IPv4Interface(line.removeprefix("lease ").strip())
            except ValueError:
                return None
    return None


def _client() -> list[str]:
    if proc.which("udhcpc") is not None:
        return ["udhcpc"]
    if proc.which("busybox") is not None:
        return ["busybox", "udhcpc"]
    raise NotFound("no DHCP client is on this host", hint="install busybox-static or udhcpc")
