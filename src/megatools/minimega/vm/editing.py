"""Set a configuration field, checked against what this host's QEMU knows. Used by `commands.vm_config`."""

from __future__ import annotations

from pathlib import Path

import msgspec.structs

from megatools.hostkit.qemu import probe
from megatools.minimega.vm.config import VmConfig
from megatools.minimega.vm.fields import field_named, set_field
from megatools.minimega.vm.parsing import Words

_ASKS_QEMU = frozenset({"networks", "cpu", "machine"})
_PATHS = frozenset({"kernel", "initrd", "cdrom", "state", "tpm-socket"})


async def edit(config: VmConfig, name: str, words: Words, files: Path) -> VmConfig:
    """The configuration with one field set. Raises InvalidInput, NotFound (no such field).

    A relative path means a file in the directory `files`, or else below the daemon's working directory.
    """
    field = field_named(name)
    if field.name in _PATHS:
        words = [_absolute(word, files) for word in words]
    if field.name == "disks":
        edited = set_field(config, name, words)
        disks = [msgspec.structs.replace(disk, path=_absolute(disk.path, files)) for disk in edited.disks]
        return msgspec.structs.replace(edited, disks=tuple(disks))
    if field.name in _ASKS_QEMU:
        return set_field(config, name, words, await probe.facts_or_fallback(config.qemu))
    return set_field(config, name, words)


def _absolute(text: str, files: Path) -> str:
    """3.x looks into the files directory, 2013 into the working directory: the first that holds it, else the first."""
    if not text or Path(text).is_absolute():
        return text
    inside, here = files.absolute() / text, Path(text).absolute()
    return str(here if here.exists() and not inside.exists() else inside)
