"""pxelinux: the per-node files of BIOS nodes, exactly as igor of 2013 wrote them. Pure; `boot.layout` calls it.

https://wiki.syslinux.org/wiki/index.php?title=PXELINUX: `01-` + MAC comes first, then the address in hexadecimal.
"""

from __future__ import annotations


def text(name: str, args: str, *, has_initrd: bool = True) -> str:
    """The file of a reservation and of each of its nodes."""
    words = ([f"initrd=/igor/{name}-initrd"] if has_initrd else []) + ([args] if args else [])
    append = f"append {' '.join(words)}\n" if words else ""
    return f"default {name}\n\nlabel {name}\nkernel /igor/{name}-kernel\n{append}"


def master_path(name: str) -> str:
    """Where a reservation's own file is; no node reads it."""
    return f"pxelinux.cfg/igor/{name}"


def node_path(key: str) -> str:
    """Where a node looks, by its `layout.node_key`."""
    return f"pxelinux.cfg/{key}"
