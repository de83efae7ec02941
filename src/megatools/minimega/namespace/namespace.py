"""One namespace: its VM configuration, saved configurations, name counter, and how a launch is planned.

Made by `Namespaces`; commands reach it with every call. A launch is planned here (names, UUIDs, VLAN numbers)
so that the plan can travel to any host.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Protocol

import msgspec

from megatools.hostkit.errors import AlreadyExists, InvalidInput, NotFound
from megatools.minimega.namespace.names import fresh_names, is_count, launch_count, launch_names
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
    """What the journal keeps of a namespace: the next number for unnamed VMs."""

    next_vm: int = 0


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

    @property
    def record(self) -> NamespaceRecord:
        """What the journal keeps of it, besides configurations."""
        return self._record

    @property
    def config(self) -> VmConfig:
        """The configuration the next launch uses."""
        return self._config

    async def set_config(self, config: VmConfig) -> None:
        """Take another configuration for later launches."""
        self._config = config
        await self._journal.write(Put("config", self.name, self.name, config))

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
        self._saved[name] = self._config
        await self._journal.write(Put("saved-config", f"{self.name}/{name}", self.name, self._config))

    async def restore_config(self, name: str) -> None:
        """Take a saved configuration as the current one. Raises NotFound."""
        await self.set_config(self.saved(name))

    def recover_config(self, config: VmConfig) -> None:
        """Take the configuration an earlier daemon wrote."""
        self._config = config

    def recover_saved(self, name: str, config: VmConfig) -> None:
        """Take a saved configuration an earlier daemon wrote."""
        self._saved[name] = config

    async def plan_launch(self, kind: VmKind, names_or_count: str, saved: str | None = None) -> list[VmPlan]:
        """Plans for a count of unnamed VMs or a list of names, from the current or a saved configuration.

        Raises InvalidInput, AlreadyExists or NotFound before anything is made.
        """
        config = self._config if saved is None else self.saved(saved)
        names = await self._names(names_or_count)
        if config.uuid:
            self._check_uuid(config.uuid, len(names))
        nics = tuple([await self._nic(spec) for spec in config.networks])
        return [
            VmPlan(
                uuid=config.uuid or str(uuid.uuid4()),
                name=name,
                namespace=self.name,
                kind=kind,
                config=config,
                nics=nics,
                origin=Origin.SAVED if config.state else Origin.COLD,
            )
            for name in names
        ]

    async def _names(self, names_or_count: str) -> Sequence[str]:
        taken = self._inhabitants.names(self.name)
        if not is_count(names_or_count):
            return launch_names(names_or_count, taken)
        names, next_vm = fresh_names(launch_count(names_or_count), self._record.next_vm, taken)
        self._record = NamespaceRecord(next_vm)  # before the first await: two launches never share a number
        await self._journal.write(Put("namespace", self.name, self.name, self._record))
        return names

    def _check_uuid(self, wanted: str, count: int) -> None:
        if count > 1:
            raise InvalidInput("cannot launch multiple VMs with a pre-configured UUID", hint="clear vm config uuid")
        if wanted in self._inhabitants.uuids():
            raise AlreadyExists(f"vm already exists with UUID `{wanted}`")

    async def _nic(self, spec: NicSpec) -> Nic:
        vlan = await self._vlans.resolve(self.name, spec.vlan)
        return Nic(spec.bridge or DEFAULT_BRIDGE, vlan.number, vlan.alias, spec.mac, spec.driver, spec.qinq)
