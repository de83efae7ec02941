"""Which VMs a target names (spec B.11 "vm target", D.12): pure.

A target is a comma list with ranges of names, ids or UUIDs, or `all`. What matches nothing is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound
from megatools.hostkit.ranges import expand

WILDCARD = "all"


class VmNotFound(NotFound):
    """No word of a target names a VM here; `missing` are the words."""

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(not_found_text(missing), hint="`vm info` lists them")
        self.missing = tuple(missing)


class VmsRefused(InvalidState):
    """VMs of a target refused, which the message says line by line; `missing` are words that name none here."""

    def __init__(self, message: str, missing: Sequence[str], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.missing = tuple(missing)


def not_found_text(missing: Sequence[str]) -> str:
    """A line for each word that names no VM."""
    return "\n".join(f"vm not found: {word}" for word in missing)


class Nameable(Protocol):
    """What can be named in a target."""

    @property
    def id(self) -> int:
        """The number on its host."""
        ...

    @property
    def name(self) -> str:
        """The name in its namespace."""
        ...

    @property
    def uuid(self) -> str:
        """The UUID."""
        ...


V = TypeVar("V", bound=Nameable)


@dataclass(frozen=True)
class Selection(Generic[V]):
    """The VMs named, each once and in order, the words that name none, and whether all were meant."""

    matched: tuple[V, ...]
    unmatched: tuple[str, ...]
    wild: bool


def select(target: str, vms: Sequence[V]) -> Selection[V]:
    """What a target names among these VMs. Raises InvalidInput for an empty or malformed one."""
    words = expand(target)
    if not words:
        raise InvalidInput("no vm target", hint='a name, an id, a range like web[1-3], a comma list, or "all"')
    if WILDCARD in words:
        return Selection(tuple(vms), (), wild=True)
    matched: dict[str, V] = {}
    unmatched: list[str] = []
    by_name = {vm.name: vm for vm in vms} | {vm.uuid: vm for vm in vms} | {str(vm.id): vm for vm in vms}
    for word in words:
        vm = by_name.get(_normal(word))
        if vm is None:
            unmatched.append(word)
        else:
            matched[vm.uuid] = vm
    return Selection(tuple(matched.values()), tuple(unmatched), wild=False)


def _normal(word: str) -> str:
    """An integer is an id however it is written; anything else names itself."""
    return str(int(word)) if word.isascii() and word.isdigit() else word
