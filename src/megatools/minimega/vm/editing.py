"""Set a configuration field, checked against what this host's QEMU knows. Used by `commands.vm_config`."""

from __future__ import annotations

from megatools.hostkit.qemu import probe
from megatools.minimega.vm.config import VmConfig
from megatools.minimega.vm.fields import field_named, set_field
from megatools.minimega.vm.parsing import Words

_ASKS_QEMU = frozenset({"networks", "cpu", "machine"})


async def edit(config: VmConfig, name: str, words: Words) -> VmConfig:
    """The configuration with one field set. Raises InvalidInput, NotFound (no such field)."""
    field = field_named(name)
    if field.name in _ASKS_QEMU:
        return set_field(config, name, words, await probe.facts_or_fallback(config.qemu))
    return set_field(config, name, words)
