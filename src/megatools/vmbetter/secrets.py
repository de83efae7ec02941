"""What belongs to one machine and must not be the same on all that boot an image: keys, ids, seeds.

Called by the targets, which leave it out, and by the assembly, which says what was left out and not made again by the
system when it boots, and which other private keys a tree has.
"""

from __future__ import annotations

import fnmatch
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

from megatools.vmbetter.tree import Layer, name_of

MADE_AGAIN = (
    "etc/ssh/ssh_host_*",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/urandom/random-seed",
    "var/lib/NetworkManager/secret_key",
)
MISSED = (
    "etc/ssl/private/ssl-cert-snakeoil.key",
    "etc/bind/rndc.key",
    "etc/dropbear/dropbear_*_host_key",
    "etc/dropbear/initramfs/dropbear_*_host_key",
    "etc/dropbear-initramfs/dropbear_*_host_key",
    "etc/munge/munge.key",
    "etc/nvme/hostid",
    "etc/nvme/hostnqn",
    "etc/hostid",
)
_LOOKED_AT = ("etc/", "home/", "opt/", "root/", "srv/", "usr/local/", "var/")  # /usr holds what packages publish
_KEY = re.compile(rb"^-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----\r?$", re.MULTILINE)
_KEY_BYTES = 1 << 16


def of_one_machine(name: str) -> bool:
    """Whether a path of a tree is left out of every image because it must differ between machines."""
    return _matches(name, MADE_AGAIN) or _matches(name, MISSED)


def found(tar: Path) -> list[str]:
    """The paths in a plain tar that people should know of: what is missed when it is left out, other private keys."""
    names: list[str] = []
    with tarfile.open(tar, "r:") as archive:
        for member in archive:
            name = name_of(member)
            if not member.isreg() or not name.startswith(_LOOKED_AT) or _matches(name, MADE_AGAIN):
                continue
            content = archive.extractfile(member) if member.size <= _KEY_BYTES else None
            if _matches(name, MISSED) or (content is not None and _KEY.search(content.read())):
                names.append(name)
    return names


def warnings(of_base: Iterable[str], of_layer: Iterable[str], layer: Layer | None, brought: set[str]) -> list[str]:
    """What to tell: `found` names of the packages and of the layer over them; `brought` are paths of overlays."""
    left = [name for name in of_base if layer is None or not _is_gone(name, layer)]
    names = sorted({*left, *of_layer})
    missed = [name for name in names if _matches(name, MISSED) and name not in brought]
    shared = [name for name in names if not _matches(name, MISSED) and name not in brought]
    refused = sorted(name for name in brought if of_one_machine(name))
    told: list[str] = []
    if missed:
        told.append(f"left out, as all machines would share it: {_listed(missed)}; make it anew where it is needed")
    if refused:
        told.append(f"left out, though an overlay has it, as all machines would share it: {_listed(refused)}")
    if shared:
        told.append(f"all machines that boot this will share the private key in {_listed(shared)}")
    return told


def _is_gone(name: str, layer: Layer) -> bool:
    return any(name == gone or name.startswith(f"{gone}/") for gone in (*layer.gone, *layer.opaque))


def _listed(names: list[str]) -> str:
    return ", ".join(f'"/{name}"' for name in names)


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
