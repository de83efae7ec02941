"""A VM's configuration, moved from the file directory of one host to that of another. Pure; used by `handlers`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec.structs

from megatools.minimega.vm.config import VmConfig

_FIELDS = ("kernel", "initrd", "cdrom", "state")


def image_paths(config: VmConfig) -> Sequence[str]:
    """The files a configuration names, absolute, in no order that matters."""
    found = [str(getattr(config, name)) for name in _FIELDS] + [disk.path for disk in config.disks]
    return [path for path in found if path]


def relocated(config: VmConfig, before: Path, after: Path) -> VmConfig:
    """The configuration with files below one directory meant below another; other paths stay as they are."""
    if before == after:
        return config
    fields = {name: _moved(str(getattr(config, name)), before, after) for name in _FIELDS}
    disks = tuple(msgspec.structs.replace(disk, path=_moved(disk.path, before, after)) for disk in config.disks)
    return msgspec.structs.replace(config, disks=disks, **fields)


def _moved(text: str, before: Path, after: Path) -> str:
    path = Path(text)
    return str(after / path.relative_to(before)) if text and path.is_relative_to(before) else text
