"""Command templates: a line from the configuration, filled in for one node; `CommandPower` uses it. Pure.

See `hostkit.template`: no shell, and no value can add a word. `{}`, `{node}` and `%s` (as in the `poweroncommand` of
igor 2) stand for the node's name, `{name}` for another value.
"""

from __future__ import annotations

from collections.abc import Mapping

from megatools.hostkit import template
from megatools.igor.model.host import Host


def values_of(host: Host) -> Mapping[str, str]:
    """What a template may say about a node."""
    return {
        "node": host.name,
        "number": str(host.number),
        "mac": host.mac,
        "ip": host.ip,
        "address": host.power_address,
        "port": host.port,
    }


def words_for(line: str, host: Host, action: str) -> list[str]:
    """The words of the command for one node; raises InvalidInput."""
    return template.filled(line, {**values_of(host), "action": action}, "node")
