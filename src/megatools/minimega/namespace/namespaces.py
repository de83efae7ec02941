"""All namespaces this daemon knows: made on first use, journaled, listed and destroyed.

`commands` asks for a namespace by name with every command; there is no current one here. Which hosts it has is agreed
on by all nodes (`membership`); here is this host's part of it. What that owns (VMs, taps, DHCP servers, VLANs) is kept
by the features; they say how to let go of it (`Release`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeAlias

import msgspec

from megatools.hostkit.errors import InvalidState, NotFound
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.namespace.names import check_name
from megatools.minimega.namespace.namespace import Inhabitants, Namespace, NamespaceRecord, Vlans
from megatools.minimega.namespace.queue import BEGUN, QueuedVm
from megatools.minimega.namespace.queue import KIND as QUEUED
from megatools.minimega.state.journal import Delete, Journal, Record, decode
from megatools.minimega.vm.config import VmConfig

DEFAULT = "minimega"
_CURRENT = ("namespace", "config", QUEUED, BEGUN)  # kinds of records that end with the daemon's work

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
        self,
        journal: Journal,
        membership: Membership,
        inhabitants: Inhabitants,
        vlans: VlanRanges,
        releases: Sequence[Release],
    ) -> None:
        self.membership = membership
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
        for record in self._journal.read(QUEUED):
            self._at(record).queue.recover(decode(record, QueuedVm))
        for record in self._journal.read(BEGUN):
            self._at(record).queue.recover_begun(decode(record, list[str]))

    def get(self, name: str) -> Namespace:
        """A namespace, made in memory if it is not there; its first change is what journals it."""
        if name not in self._spaces:
            check_name(name, "namespace")
            self._spaces[name] = self._make(name, NamespaceRecord())
        return self._spaces[name]

    async def ensure(self, name: str) -> Namespace:
        """A namespace that outlives the daemon, made if it is not there. Raises InvalidInput for a bad name."""
        mine = self.get(name).record.incarnation
        agreed = await self.membership.make(name)
        if mine in agreed.ended:
            await self.destroy(name)  # a leftover
        if name not in self._kept or mine != agreed.incarnation:
            await self.adopt(name, agreed.incarnation)
        return self.get(name)

    async def adopt(self, name: str, incarnation: str) -> None:
        """Note which incarnation of a namespace this host's part of it belongs to."""
        self._kept.add(name)
        await self.get(name).change(incarnation=incarnation)

    async def enter(self, name: str, incarnation: str) -> None:
        """VMs of a namespace are about to be launched here; leftovers of an ended incarnation go first.

        Raises InvalidState when it was destroyed meanwhile.
        """
        if name == DEFAULT or not incarnation:
            return
        agreed = self.membership.record(name)
        ended = () if agreed is None else agreed.ended
        if incarnation in ended:
            raise InvalidState(f'namespace "{name}" was destroyed meanwhile')
        mine = self.get(name).record.incarnation
        if mine in ended:
            await self.destroy(name)
        if mine != incarnation:
            await self.adopt(name, incarnation)

    def names(self) -> Collection[str]:
        """The namespaces there are, sorted."""
        return sorted({DEFAULT, *self._spaces, *self.membership.names()})

    def has_part(self, name: str) -> bool:
        """Whether this host has VMs or records of a namespace."""
        return name in self._kept or self.inhabited(name)

    def inhabited(self, name: str) -> bool:
        """Whether this host has VMs of a namespace."""
        return bool(self._inhabitants.names(name))

    def rows(self, active: str) -> list[NamespaceRow]:
        """One row per namespace; `active` is the caller's."""
        return [NamespaceRow(name, self._vlans.range_text(name), name == active) for name in self.names()]

    def check_known(self, name: str) -> None:
        """Raise NotFound for a namespace that does not exist."""
        if name not in self.names():
            raise NotFound(f"unknown namespace: `{name}`", hint=f"there are: {', '.join(self.names())}")

    async def destroy(self, name: str) -> None:
        """Kill and remove all that this host has of a namespace, then forget it; the default one stays, empty.

        What could not be removed is raised, and the namespace stays.
        """
        for release in self._releases:
            await release(name)
        space = self._spaces.pop(name, None)
        self._kept.discard(name)
        owned = [Delete(BEGUN, name)]
        if space is not None:
            owned += [Delete("saved-config", f"{name}/{config}") for config in space.saved_names()]
            owned += [Delete(QUEUED, uuid) for uuid in space.queue.uuids()]
        await self._journal.write(Delete("namespace", name), Delete("config", name), *owned)

    async def forget(self) -> None:
        """Drop all but the saved configurations: the daemon was told to quit."""
        await self.membership.forget()
        changes = [Delete(kind, record.id) for kind in _CURRENT for record in self._journal.read(kind)]
        await self._journal.write(*changes)

    def _at(self, record: Record) -> Namespace:
        return self.get(record.namespace)

    def _make(self, name: str, record: NamespaceRecord) -> Namespace:
        return Namespace(name, record, self._journal, self._inhabitants, self._vlans)
