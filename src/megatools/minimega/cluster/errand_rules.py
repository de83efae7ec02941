"""What comes of commands that were given while a VM's host was away, whatever the order they arrive in; pure.

Used by `errands`. The rules, decision 22:

- a kill ends every VM of its target that was launched before it, for the last time; one launched later is to run
- other commands are for VMs launched before them, for the first time; one launched later is another VM of that name
- of what was written to one tag, by its host or from elsewhere, the latest counts; removing all tags writes to each
- what arrives late or twice changes nothing
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from megatools.minimega.state.stamps import ZERO, Stamp
from megatools.minimega.vm.operations import EVERY_TAG


class Errand(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command for the VMs of a target on one host; `value` None removes a tag, the key `EVERY_TAG` means them all."""

    host: str
    namespace: str
    target: str
    kill: bool = False
    key: str = EVERY_TAG
    value: str | None = None


@dataclass(frozen=True)
class Standing:
    """A VM as far as errands go: when it was launched for the first and the last time, and what was written.

    `written` says when a tag was last written, `EVERY_TAG` when all were removed.
    """

    first: Stamp
    last: Stamp
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    written: Mapping[str, Stamp] = field(default_factory=dict[str, Stamp])
    killed: bool = False


def settle(standing: Standing, errands: Iterable[tuple[Stamp, Errand]]) -> Standing:
    """The VM after errands whose targets name it."""
    tags, written, killed = dict(standing.tags), dict(standing.written), standing.killed
    for stamp, errand in sorted(errands, key=lambda each: each[0]):
        if stamp < standing.first:
            continue
        if errand.kill:
            killed = killed or stamp > standing.last
            continue
        keys = {*tags, *written, EVERY_TAG} if errand.key == EVERY_TAG else {errand.key}
        for key in [key for key in keys if stamp > last_written(written, key)]:
            written[key] = stamp
            tags.pop(key, None)
            if errand.value is not None:
                tags[key] = errand.value
    return Standing(standing.first, standing.last, tags, written, killed)


def last_written(written: Mapping[str, Stamp], key: str) -> Stamp:
    """When a tag was last written or removed."""
    return max(written.get(key, ZERO), written.get(EVERY_TAG, ZERO))
