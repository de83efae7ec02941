"""All namespaces of this daemon: made on first use, journaled, listed and destroyed.

`commands` asks for a namespace by name with every command; there is no current one here. What a namespace
owns (VMs, taps, DHCP servers, VLANs) is kept by the features; they say how to let go of it (`Release`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias

import msgspec

from megatools.hostkit.errors import NotFound
from megatools.minimega.namespace.names import check_name
from megatools.minimega.namespace.namespace import Inhabitants, Namespace, NamespaceRecord, Vlans
from megatools.minimega.state.journal import Delete, Journal, Put, Record, decode
from megatools.minimega.vm.config import VmConfig

DEFAULT = "minimega"

Release: TypeAlias = Callable[[str], Awaitable[None]]


class VlanRanges(Vlans, Protocol):
    """VLAN aliases, as the list of namespaces needs them."""

    def range_text(self, namespace: str) -> str:
        """The namespace's range as `min-max`; empty when it has none of its own."""
        ...


class NamespaceRow(msgspec.Struct, frozen=True):
    """A line of `namespace`."""

    namespace: str
    vlans: str
    active: bool


class Namespaces:
    """The namespaces by name; the default one is always there."""

    def __init__(
        self, journal: Journal, inhabitants: Inhabitants, vlans: VlanRanges, releases: Sequence[Release]
    ) -> None:
        self._journal = journal
        self._inhabitants = inhabitants
        self._vlans = vlans
        self._releases = releases
        self._spaces: dict[str, Namespace] = {}
        self._kept: set[str] = set()  # those the journal knows

    def recover(self) -> None:
        """Read back what an earlier daemon wrote."""
        for record in self._journal.read("namespace"):
            self._spaces[record.id] = self._make(record.id, decode(record, NamespaceRecord))
            self._kept.add(record.id)
        for record in self._journal.read("config"):
            self._at(record).recover_config(decode(record, VmConfig))
        for record in self._journal.read("saved-config"):
            self._at(record).recover_saved(record.id.partition("/")[2], decode(record, VmConfig))

    def get(self, name: str) -> Namespace:
        """A namespace, made in memory if it is not there; its first change is what journals it."""
        if name not in self._spaces:
            check_name(name, "namespace")
            self._spaces[name] = self._make(name, NamespaceRecord())
        return self._spaces[name]

    async def ensure(self, name: str) -> Namespace:
        """A namespace that outlives the daemon, made if it is not there. Raises InvalidInput for a bad name."""
        space = self.get(name)
        if name not in self._kept:
            await self._journal.write(Put("namespace", name, name, space.record))
            self._kept.add(name)
        return space

    def names(self) -> Collection[str]:
        """The namespaces there are, sorted."""
        return sorted({DEFAULT, *self._spaces})

    def rows(self, active: str) -> list[NamespaceRow]:
        """One row per namespace; `active` is the caller's."""
        return [NamespaceRow(name, self._vlans.range_text(name), name == active) for name in self.names()]

    async def destroy(self, name: str) -> None:
        """Kill and remove all a namespace owns, then forget it; the default one stays, empty.

        Raises NotFound for an unknown one; what could not be removed is raised and the namespace stays.
        """
        if name not in self.names():
            raise NotFound(f"unknown namespace: `{name}`", hint=f"there are: {', '.join(self.names())}")
        for release in self._releases:
            await release(name)
        space = self._spaces.pop(name, None)
        self._kept.discard(name)
        saved = [] if space is None else [Delete("saved-config", f"{name}/{config}") for config in space.saved_names()]
        await self._journal.write(Delete("namespace", name), Delete("config", name), *saved)

    async def forget(self) -> None:
        """Drop all but the saved configurations: the daemon was told to quit."""
        changes = [Delete(kind, record.id) for kind in ("namespace", "config") for record in self._journal.read(kind)]
        await self._journal.write(*changes)

    def _at(self, record: Record) -> Namespace:
        return self.get(record.namespace)

    def _make(self, name: str, record: NamespaceRecord) -> Namespace:
        return Namespace(name, record, self._journal, self._inhabitants, self._vlans)
