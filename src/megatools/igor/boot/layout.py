"""Which files below the TFTP root make nodes boot a reservation (`kinds.Layout`); pure, `store` writes them.

::

    igor/NAME-kernel, igor/NAME-initrd        the same files as igor/images/<hash>
    pxelinux.cfg/igor/NAME                    the reservation's pxelinux file; each node that boots by BIOS has a copy
    pxelinux.cfg/01-52-54-00-77-00-01         named by MAC where it is known,
    pxelinux.cfg/0A00005B                     else by IPv4 address (the layout of 2013)
    grub/grub.cfg-01-..., grub/grub.cfg-0A00005B        nodes that boot by UEFI (GRUB's own search order)
    igor/ipxe/01-....ipxe, igor/ipxe/0A00005B.ipxe      nodes that boot by HTTP (iPXE)

A node has one file per layout it boots by, never two with different content.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from megatools.hostkit.errors import InvalidInput
from megatools.igor.boot import grub, ipxe, pxelinux
from megatools.igor.model.config import Config
from megatools.igor.model.host import BootMode, Host, hex_name
from megatools.igor.model.image import BootFile, LinkTo, image_path
from megatools.igor.model.names import checked_args, checked_name
from megatools.igor.model.reservation import Kind, Reservation

NAMES = ("pxelinux", "grub", "ipxe")
_LAYOUT_OF = {BootMode.BIOS: "pxelinux", BootMode.UEFI: "grub", BootMode.HTTP: "ipxe"}
_PATH_OF: Mapping[str, Callable[[str], str]] = {
    "pxelinux": pxelinux.node_path,
    "grub": grub.node_path,
    "ipxe": ipxe.node_path,
}


def files_for(reservation: Reservation, hosts: Sequence[Host], config: Config) -> Mapping[str, BootFile]:
    """See `kinds.Layout`; a maintenance reservation, or one without a kernel, has no files.

    Raises InvalidInput: a name or arguments that must not reach a boot file, a node with neither MAC nor address, a
    boot mode whose layout is switched off.
    """
    if reservation.kind is Kind.MAINTENANCE or not reservation.kernel:
        return {}
    name, args = checked_name(reservation.name), checked_args(reservation.details.args)
    files: dict[str, BootFile] = {kernel_path(name): LinkTo(image_path(reservation.kernel))}
    if reservation.initrd:
        files[initrd_path(name)] = LinkTo(image_path(reservation.initrd))
    has_initrd = bool(reservation.initrd)
    wanted = [(_layout_of(host, config), host) for host in hosts]
    texts: dict[str, bytes] = {}
    if "pxelinux" in config.boot.layouts:
        texts["pxelinux"] = pxelinux.text(name, args, has_initrd=has_initrd).encode()
        files[pxelinux.master_path(name)] = texts["pxelinux"]
    layouts = {layout for layout, _ in wanted}
    if "grub" in layouts:
        texts["grub"] = grub.text(name, args, has_initrd=has_initrd).encode()
    if "ipxe" in layouts:
        texts["ipxe"] = ipxe.text(name, args, has_initrd=has_initrd, base_url=config.boot.http_url).encode()
    for layout, host in wanted:
        files[_PATH_OF[layout](node_key(host))] = texts[layout]
    return files


def _layout_of(host: Host, config: Config) -> str:
    layout = _LAYOUT_OF[host.boot]
    if layout not in config.boot.layouts:
        raise InvalidInput(
            f'node "{host.name}" boots by {host.boot.value}, and boot.layouts has no "{layout}"',
            hint=f"layouts are {', '.join(NAMES)}",
        )
    return layout


def kernel_path(name: str) -> str:
    """Where a reservation's kernel is, relative to the TFTP root."""
    return f"igor/{name}-kernel"


def initrd_path(name: str) -> str:
    """Where a reservation's initrd is, relative to the TFTP root."""
    return f"igor/{name}-initrd"


def node_key(host: Host) -> str:
    """What boot loaders call a node: `01-52-54-00-77-00-01` by MAC, else `0A00005B` by address; raises InvalidInput."""
    if host.mac:
        return "01-" + host.mac.lower().replace(":", "-")
    if host.ip:
        return hex_name(host.ip)
    raise InvalidInput(
        f'node "{host.name}" has neither a MAC nor an address',
        hint="import its MAC with igor nodes, or let its name resolve",
    )
