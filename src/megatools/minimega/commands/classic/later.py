"""Words that are known and not available yet: they parse, and say so, instead of being called invalid.

Delete a row here when its commands arrive: the registry refuses two that contradict each other.
"""

from __future__ import annotations

from megatools.hostkit.errors import Unavailable
from megatools.minimega.commands.classic.table import Arguments, Later, Row, make_family

CLASSIC = (
    "define",
    "ksm",
    "undefine",
    "vm_hotplug",
    "vm_inject",
    "vm_netmod",
    "vm_qmp",
    "vm_save",
    "vyatta",
    "clear define",
    "clear ksm",
    "clear vyatta",
    "vnc record",
    "vnc playback",
    "vnc norecord",
    "vnc noplayback",
)
MODERN = (
    "capture",
    "cc",
    "debug cpu",
    "debug goroutine",
    "debug memory",
    "disk",
    "log filter",
    "log mesh",
    "log ring",
    "log syslog",
    "ns save",
    "ns snapshot",
    "optimize",
    "pipe",
    "plumb",
    "qos",
    "router",
    "status updates",
    "tap mirror",
    "viz",
    "vm cdrom",
    "vm hotplug",
    "vm migrate",
    "vm net",
    "vm qmp",
    "vm save",
    "vm snapshot",
    "vm top",
    "vnc inject",
    "vnc play",
    "vnc stop",
    "vnc type",
    "vnc pause",
    "vnc continue",
    "vnc step",
    "vnc getstep",
    "clear capture",
    "clear cc",
    "clear optimize",
    "clear pipe",
    "clear plumb",
    "clear qos",
    "clear router",
    "clear tap mirror",
    "clear vm net",
)


def _recordings(_arguments: Arguments) -> str:
    raise Unavailable('not available yet: "vnc"', hint="vnc serve [address], vnc novnc [path]")


family = make_family(
    "later",
    "Not available yet",
    (
        *(Later(name) for name in CLASSIC),
        *(Later(name, exact=False) for name in MODERN),
        Row("vnc", _recordings, "not available yet: list recordings and playbacks"),
    ),
)
