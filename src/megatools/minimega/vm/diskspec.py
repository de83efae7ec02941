"""Disks as text: `<path>[,interface][,cache]` (spec B.11). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.qemu.devices import DISK_CACHES, DISK_INTERFACES
from megatools.minimega.vm.config import DiskSpec

_HINT = (
    f"write it as <path>[,interface][,cache]; interfaces {' '.join(DISK_INTERFACES)}; caches {' '.join(DISK_CACHES)}"
)


def parse_diskspec(text: str) -> DiskSpec:
    """A disk from its text. Raises InvalidInput (`malformed diskspec`)."""
    path, *options = (field.strip() for field in text.split(","))
    interface = options.pop(0) if options and options[0] in DISK_INTERFACES else ""
    cache = options.pop(0) if options and options[0] in DISK_CACHES else ""
    if options:
        raise InvalidInput(
            f'malformed diskspec "{text}": "{options[0]}" is neither an interface nor a cache mode', hint=_HINT
        )
    if not path:
        raise InvalidInput(f'malformed diskspec "{text}": it names no file', hint=_HINT)
    return DiskSpec(path, interface, cache)


def parse_diskspecs(texts: Sequence[str]) -> tuple[DiskSpec, ...]:
    """Several disks; raises InvalidInput also when one file is named twice (`disk conflict`)."""
    specs = tuple(parse_diskspec(text) for text in texts)
    seen: set[str] = set()
    for spec in specs:
        if spec.path in seen:
            raise InvalidInput(f"disk conflict: {spec.path}", hint="each file can be one disk of a VM")
        seen.add(spec.path)
    return specs


def show_diskspec(spec: DiskSpec) -> str:
    """The text of a disk, defaults left out."""
    return ",".join(part for part in (spec.path, spec.interface, spec.cache) if part)
