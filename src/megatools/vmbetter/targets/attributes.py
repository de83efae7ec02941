"""What an initrd's format (cpio, newc) has no place for: file capabilities and other extended attributes.

Called by the initrd target. Capabilities are set when the machine boots, by an `/init` that then becomes /sbin/init:
rootfs is a tmpfs, which keeps them. That needs the tree's `setcap`, which is there whenever a package has set some
(they are no part of packages: maintainer scripts set them). The rest is told. See capabilities(7), "File capability
extended attribute versioning".
"""

from __future__ import annotations

import shlex
import struct
import tarfile
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from megatools.vmbetter.targets.newc import name_of

FORMAT = 1
_XATTR = "SCHILY.xattr."
_CAPABILITY = f"{_XATTR}security.capability"
_REVISIONS = {0x01000000: 1, 0x02000000: 2}  # to 32-bit words of each set; 3 is for the root of another namespace
_EFFECTIVE = 1
_SETCAP = ("usr/sbin/setcap", "sbin/setcap")
# what systemd sets anew at each boot (tmpfiles.d)
_MADE_AGAIN = frozenset({"var/log/journal"})
_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service "
    "net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin "
    "sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override "
    "mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
).split()


class Attributes(msgspec.Struct, frozen=True):
    """Of a tree or a layer: capabilities as setcap(8) takes them, and paths that have something else, by path."""

    capabilities: dict[str, str] = {}
    others: dict[str, str] = {}

    def under(self, over: Attributes, names: Collection[str]) -> Attributes:
        """These with a layer's over them; `names` are all paths of the layer."""
        return Attributes(
            {name: text for name, text in self.capabilities.items() if name not in names} | over.capabilities,
            {name: text for name, text in self.others.items() if name not in names} | over.others,
        )


def found(tar: Path, keep: Callable[[str], bool]) -> Attributes:
    """What the members of a plain tar have that `keep` wants, what systemd makes anew left out."""
    capabilities: dict[str, str] = {}
    others: dict[str, str] = {}
    with tarfile.open(tar, "r:") as archive:
        members = [member for member in archive if keep(name_of(member))]
    for member in members:
        name = name_of(member)
        held = {key: value for key, value in member.pax_headers.items() if key.startswith(_XATTR)}
        text = capability_text(held[_CAPABILITY].encode("utf-8", "surrogateescape")) if _CAPABILITY in held else ""
        if text:
            del held[_CAPABILITY]
            capabilities[name] = text
        if held and name not in _MADE_AGAIN:
            others[name] = ", ".join(sorted(key.removeprefix(_XATTR) for key in held))
    return Attributes(capabilities, others)


def capability_text(data: bytes) -> str:
    """A file's capabilities as text, such as `cap_net_raw=ep`; empty when they cannot be said so.

    >>> capability_text(bytes.fromhex("01000002 00200000 00000000 00000000 00000000"))
    'cap_net_raw=ep'
    """
    words = struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
    count = _REVISIONS.get(words[0] & 0xFF000000, 0) if words else 0
    if not count or len(data) != 4 + 8 * count:
        return ""
    permitted = sum(words[1 + 2 * number] << (32 * number) for number in range(count))
    inheritable = sum(words[2 + 2 * number] << (32 * number) for number in range(count))
    if (permitted | inheritable) >> len(_NAMES):
        return ""
    effective = "e" if words[0] & _EFFECTIVE else ""
    groups: dict[str, list[str]] = {}
    for number, name in enumerate(_NAMES):
        flags = "p" * (permitted >> number & 1) + "i" * (inheritable >> number & 1)
        if flags:
            groups.setdefault(effective + flags, []).append(f"cap_{name}")
    return " ".join(f"{','.join(names)}={flags}" for flags, names in groups.items())


def init_program(capabilities: dict[str, str], names: Collection[str], warnings: list[str]) -> bytes:
    """The `/init` that sets these, for a tree of these names; empty when there is nothing to set or no way to."""
    if not capabilities:
        return b""
    setcap = next((name for name in _SETCAP if name in names), "")
    if not setcap or "init" in names:
        why = "its /init must do that" if "init" in names else 'that needs the package "libcap2-bin"'
        told = ", ".join(f'"/{name}" ({text})' for name, text in sorted(capabilities.items()))
        warnings.append(f"the initrd cannot set the file capabilities of {told}: {why}")
        return b""
    lines = [
        "#!/bin/sh",
        "# Written by vmbetter: an initrd's format has no file capabilities, so they are set here.",
        *(f"/{setcap} -q {shlex.quote(text)} {shlex.quote('/' + name)}" for name, text in sorted(capabilities.items())),
        'exec /sbin/init "$@"',
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def warn(others: dict[str, str], warnings: list[str]) -> None:
    """Say which attributes an initrd loses."""
    if others:
        told = ", ".join(f'"/{name}" ({text})' for name, text in sorted(others.items()))
        warnings.append(f"an initrd has no extended attributes, those of {told} are lost: a disk or an ISO keeps them")
