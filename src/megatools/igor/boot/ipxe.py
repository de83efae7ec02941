"""iPXE: the per-node scripts of nodes that boot by HTTP. Pure; `boot.layout` and the set-up call it.

Paths begin at the server the script came from unless `boot.http_url` names another; https://ipxe.org/scripting. A DHCP
server names `http://SERVER/ipxe/boot.ipxe`, which chains to the node's own script, by MAC or by address, else to the
site's `ipxe/default.ipxe`, else boots from the local disk.
"""

from __future__ import annotations

from megatools.hostkit.errors import InvalidInput

DEFAULT_PATH = "ipxe/boot.ipxe"
DEFAULT_TEXT = """\
#!ipxe
chain /igor/ipxe/01-${net0/mac:hexhyp}.ipxe || chain /igor/ipxe/${net0/ip:hexraw}.ipxe || chain default.ipxe || exit
"""


def text(name: str, args: str, *, has_initrd: bool = True, base_url: str = "") -> str:
    """The script of each node of a reservation; raises InvalidInput for arguments that iPXE would read as its own."""
    base = base_url.rstrip("/")
    words = (["initrd=initrd"] if has_initrd else []) + ([_checked(args)] if args else [])
    kernel = " ".join(["kernel", f"{base}/igor/{name}-kernel", *words])
    initrd = f"initrd --name initrd {base}/igor/{name}-initrd\n" if has_initrd else ""
    return f"#!ipxe\necho igor: {name}\n{kernel}\n{initrd}boot\n"


def _checked(args: str) -> str:
    for special in ("${", "||", "&&"):
        if special in args:
            raise InvalidInput(f'the kernel arguments hold "{special}", which iPXE would not pass on as it is')
    return args


def node_path(key: str) -> str:
    """Where a node's script is, by its `layout.node_key`; iPXE writes addresses in lower case."""
    return f"igor/ipxe/{key.lower()}.ipxe"
