"""OpenFlow rules, through ovs-ofctl: one rule set per bridge, set once.

Anyone may use it, on bridges they made: a rule of ours overrides what an operator decided for theirs.
"""

from __future__ import annotations

from megatools.hostkit import proc

_MATCHES = ("arp", "icmp6,icmp_type=135", "icmp6,icmp_type=136")
_TIMEOUT_S = 10.0


def neighbour_flows() -> list[str]:
    """Rules that copy ARP and IPv6 neighbour discovery to the bridge's local port and otherwise switch as usual."""
    return [f"priority=100,{match},actions=NORMAL,LOCAL" for match in _MATCHES]


async def copy_neighbour_traffic(management: str) -> None:
    """Set these rules on the bridge behind a management address; raises CommandFailed, NotFound, Unavailable."""
    rules = "\n".join(neighbour_flows()) + "\n"
    await proc.run(["ovs-ofctl", "add-flows", management, "-"], timeout_s=_TIMEOUT_S, stdin=rules.encode())
