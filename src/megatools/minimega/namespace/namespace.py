"""One namespace as this host drives it: VM configurations, queue, name counter, and how a launch is planned.

Made by `Namespaces`; commands reach it with every call. A launch is planned here (names, UUIDs, then VLAN numbers)
so that the plan can travel to any host.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import msgspec
import msgspec.structs

from megatools.hostkit.errors import AlreadyExists, InvalidInput, MegaError, NotFound
from megatools.minimega.namespace.names import fresh_names, is_count, launch_count, launch_names
from megatools.minimega.namespace.queue import Queue
from megatools.minimega.state.journal import Journal, Put
from megatools.minimega.vm.config import DEFAULT_BRIDGE, NicSpec, VmConfig, VmKind
from megatools.minimega.vm.plan import Nic, Origin, VmPlan


class ResolvedVlan(Protocol):
    """A VLAN number and the alias it was asked for by, empty for a raw number."""

    @property
    def number(self) -> int:
        """The tag."""
        ...

    @property
    def alias(self) -> str:
        """The name, as typed."""
        ...


class Vlans(Protocol):
    """VLAN aliases, as a launch needs them."""

    async def resolve(self, namespace: str, text: str) -> ResolvedVlan:
        """The VLAN a text names, allocated on first use."""
        ...


class Inhabitants(Protocol):
    """The VMs there are, as a launch needs to know them."""

    def names(self, namespace: str) -> frozenset[str]:
        """The VM names in use in a namespace."""
        ...

    def uuids(self) -> frozenset[str]:
        """The UUIDs in use on this host."""
        ...


class NamespaceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What this host's journal keeps of a namespace: the next number for unnamed VMs, and whether launches are queued.

    `incarnation` is the one that this host's part of it belongs to (`membership`).
    """

    next_vm: int = 0
    queueing: bool = False
    incarnation: str = ""


class Namespace:
    """A namespace's own state; every change is journaled before it counts."""

    def __init__(
        self, name: str, record: NamespaceRecord, journal: Journal, inhabitants: Inhabitants, vlans: Vlans
    ) -> None:
        self.name = name
        self._record = record
        self._journal = journal
        self._inhabitants = inhabitants
        self._vlans = vlans
        self._config = VmConfig()
        self._saved: dict[str, VmConfig] = {}
        self._taken: set[str] = set()
        self.queue = Queue(journal, name)

    @property
    def record(self) -> NamespaceRecord:
        """What the journal keeps of it, besides configurations."""
        return self._record

    async def change(self, **fields: int | bool | str) -> None:
        """Change fields of the record."""
        before = self._record
        made = self._record = msgspec.structs.replace(before, **fields)  # before the await: changes never mix
        try:
            await self._journal.write(Put("namespace", self.name, self.name, made))
        except BaseException:
            if self._record is made:
                self._record = before
            raise

    @property
    def config(self) -> VmConfig:
        """The configuration the next launch uses."""
        return self._config

    async def set_config(self, config: VmConfig) -> None:
        """Take another configuration for later launches. Raises Unavailable; then the one before is kept."""
        before, self._config = self._config, config
        try:
            await self._journal.write(Put("config", self.name, self.name, config))
        except BaseException:
            if self._config is config:
                self._config = before
            raise

    def saved_names(self) -> Sequence[str]:
        """The names of the saved configurations, sorted."""
        return sorted(self._saved)

    def saved(self, name: str) -> VmConfig:
        """A saved configuration. Raises NotFound."""
        if name not in self._saved:
            raise NotFound(f"config {name} does not exist", hint="`vm config restore` lists the saved ones")
        return self._saved[name]

    async def save_config(self, name: str) -> None:
        """Keep the current configuration under a name, in place of an older one."""
        config = self._config
        await self._journal.write(Put("saved-config", f"{self.name}/{name}", self.name, config))
        self._saved[name] = config

    async def restore_config(self, name: str) -> None:
        """Take a saved configuration as the current one. Raises NotFound."""
        await self.set_config(self.saved(name))

    def recover_config(self, config: VmConfig) -> None:
        """Take the configuration an earlier daemon wrote."""
        self._config = config

    def recover_saved(self, name: str, config: VmConfig) -> None:
        """Take a saved configuration an earlier daemon wrote."""
        self._saved[name] = config

    async def plan_launch(
        self,
        kind: VmKind,
        names_or_count: str,
        saved: str | None = None,
        *,
        elsewhere: Collection[str] = (),
        uuids: Collection[str] = (),
    ) -> list[VmPlan]:
        """Plans for a count of unnamed VMs or a list of names, from the current or a saved configuration.

        Their interfaces are connected later (`connect`). `elsewhere` and `uuids` are in use on other hosts. The names
        are taken until `give_back`. Raises InvalidInput, AlreadyExists or NotFound before anything is made.
        """
        config = self._config if saved is None else self.saved(saved)
        names = await self._names(names_or_count, elsewhere)
        try:
            if config.uuid:
                self._check_uuid(config.uuid, len(names), uuids)
        except MegaError:
            self._taken.difference_update(names)
            raise
        return [
            VmPlan(
                uuid=config.uuid or str(uuid.uuid4()),
                name=name,
                namespace=self.name,
                kind=kind,
                config=config,
                origin=Origin.SAVED if config.state else Origin.COLD,
            )
            for name in names
        ]

    def give_back(self, plans: Iterable[VmPlan]) -> None:
        """The names of these plans are in use on a host by now, or queued, or free again."""
        self._taken.difference_update(plan.name for plan in plans)

    async def connect(self, plans: Sequence[VmPlan]) -> list[VmPlan]:
        """The plans with their interfaces: each VLAN is resolved once. Raises what resolving raises."""
        nics: dict[tuple[NicSpec, ...], tuple[Nic, ...]] = {}
        for specs in dict.fromkeys(plan.config.networks for plan in plans):
            nics[specs] = tuple([await self._nic(spec) for spec in specs])
        return [msgspec.structs.replace(plan, nics=nics[plan.config.networks]) for plan in plans]

    async def _names(self, names_or_count: str, elsewhere: Collection[str]) -> Sequence[str]:
        """Names that are free, taken from now on (synchronously: two launches never get the same)."""
        used = {*self._inhabitants.names(self.name), *elsewhere, *self._taken}
        queued = self.queue.names()
        if not is_count(names_or_count):
            names = launch_names(names_or_count, used, queued)
            self._taken.update(names)
            return names
        names, next_vm = fresh_names(launch_count(names_or_count), self._record.next_vm, used | queued)
        self._taken.update(names)
        await self.change(next_vm=next_vm)
        return names

    def _check_uuid(self, wanted: str, count: int, elsewhere: Collection[str]) -> None:
        if count > 1:
            raise InvalidInput("cannot launch multiple VMs with a pre-configured UUID", hint="clear vm config uuid")
        if wanted in self._inhabitants.uuids() or wanted in elsewhere:
            raise AlreadyExists(f"vm already exists with UUID `{wanted}`")
        if wanted in self.queue.uuids():
            raise AlreadyExists(f"vm already queued with UUID `{wanted}`", hint="ns queue, ns flush")

    async def _nic(self, spec: NicSpec) -> Nic:
        vlan = await self._vlans.resolve(self.name, spec.vlan)
        return Nic(spec.bridge or DEFAULT_BRIDGE, vlan.number, vlan.alias, spec.mac, spec.driver, spec.qinq)
