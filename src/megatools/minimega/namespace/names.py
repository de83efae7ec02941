"""Which names VMs and namespaces may have (spec B.11); pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from megatools.hostkit.errors import AlreadyExists, InvalidInput
from megatools.hostkit.ranges import expand

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LONGEST = 64
_MOST_AT_ONCE = 10_000
RESERVED = frozenset({"all"})


def is_count(text: str) -> bool:
    """Whether a text is a whole number, a sign allowed."""
    return re.fullmatch(r"[+-]?[0-9]+", text) is not None


def check_name(name: str, what: str) -> None:
    """Raise InvalidInput unless `name` may name a VM or a namespace (`what` says which)."""
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise InvalidInput(
            f"invalid name; must only include letters, numbers, hyphens and underscores: `{name}`",
            hint="a dot is allowed too",
        )
    if len(name) > _LONGEST:
        raise InvalidInput(
            f'invalid {what} name, "{name[:20]}..." is longer than {_LONGEST} characters', hint="take a shorter one"
        )
    if is_count(name):
        raise InvalidInput(f"invalid {what} name, `{name}` is an integer", hint="put a letter in front of it")
    if name in RESERVED:
        raise InvalidInput(f"invalid {what} name, `{name}` is a reserved word", hint="take another name")


def launch_count(text: str) -> int:
    """How many unnamed VMs a number asks for. Raises InvalidInput below 1 and above 10,000."""
    count = int(text)
    if count < 1:
        raise InvalidInput("invalid number of vms (must be > 0)", hint=f"{count} was asked for")
    if count > _MOST_AT_ONCE:
        raise InvalidInput(f"invalid number of vms {count} (must be <= {_MOST_AT_ONCE})", hint="launch in several goes")
    return count


def launch_names(text: str, taken: Collection[str], queued: Collection[str] = ()) -> Sequence[str]:
    """The VM names a list with ranges asks for, in order. Raises on bad, doubled, taken or queued ones."""
    names = expand(text)
    if len(names) > _MOST_AT_ONCE:
        raise InvalidInput(
            f"invalid number of vms {len(names)} (must be <= {_MOST_AT_ONCE})", hint="launch in several goes"
        )
    seen: set[str] = set()
    for name in names:
        check_name(name, "vm")
        if name in seen:
            raise InvalidInput(f"`{name}` is specified twice in VMs to launch", hint="name each VM once")
        if name in taken:
            raise AlreadyExists(f"vm already exists with name `{name}`", hint="flush the old one or take another name")
        if name in queued:
            raise AlreadyExists(
                f"vm already queued with name `{name}`", hint="vm launch launches the queue, ns flush drops it"
            )
        seen.add(name)
    return names


def fresh_names(count: int, start: int, taken: Collection[str]) -> tuple[list[str], int]:
    """`count` free names `vm-<n>` from `start` on, and the number to go on with."""
    names: list[str] = []
    number = start
    while len(names) < count:
        name = f"vm-{number}"
        number += 1
        if name not in taken:
            names.append(name)
    return names, number
