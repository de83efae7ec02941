"""Which hosts a namespace has, and the rest of what all nodes agree on about it (spec B.12).

One shared record per namespace (`state.shared`, kind `namespace`), so that every node that has seen it shows the same
hosts. The default namespace is every node's own: it has the local host only, and a record per node for the rest.

A namespace that was destroyed keeps its record, with no incarnation and the ended ones named: a host that was away
tells by it which of its VMs are leftovers, also when a namespace of that name was made again meanwhile.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence

import msgspec

from megatools.hostkit.errors import InvalidState, NotFound
from megatools.hostkit.ranges import compress, expand
from megatools.minimega.lang.call import DEFAULT_NAMESPACE
from megatools.minimega.namespace.policy import LoadFunction
from megatools.minimega.state.shared import Shared
from megatools.minimega.state.stamps import ZERO, Stamp
from megatools.minimega.vm.rooms import NO_CAPS, Caps

KIND = "namespace"
LOCALHOST = "localhost"
EVERY_PEER = "all"
_OF_NODE = "@"
_REMEMBERED = 100  # ended incarnations


class SpaceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all nodes agree on: the hosts in order of adding, how VMs are spread, and which incarnation this is.

    No incarnation: it was destroyed.
    """

    incarnation: str = ""
    ended: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    load: LoadFunction = LoadFunction.CPU
    caps: Caps = NO_CAPS


class Membership:
    """The hosts of all namespaces; `peers` are the other nodes of the mesh now."""

    def __init__(self, shared: Shared, local: str, peers: Callable[[], Sequence[str]]) -> None:
        self.shared = shared
        self.local = local
        self._peers = peers

    # ---- read

    def record(self, namespace: str) -> SpaceRecord | None:
        """What is agreed on, also of a destroyed namespace; None if it was never heard of."""
        return self.shared.get(KIND, self._id(namespace), SpaceRecord)

    def rules(self, namespace: str) -> SpaceRecord:
        """What applies to a namespace now: what is agreed on, else what a new one would have."""
        record = self.record(namespace)
        return record if record is not None and record.incarnation else SpaceRecord(hosts=self._first_hosts(namespace))

    def hosts(self, namespace: str) -> tuple[str, ...]:
        """The hosts of a namespace; of one that does not exist, those it would have."""
        return self.rules(namespace).hosts

    def check_host(self, namespace: str, host: str) -> None:
        """Raise NotFound unless a host, or `localhost`, is one of a namespace's."""
        if (self.local if host == LOCALHOST else host) not in self.hosts(namespace):
            raise NotFound(
                f"host is not in namespace: {host}", hint=f"the hosts are {compress(self.hosts(namespace)) or 'none'}"
            )

    def names(self) -> Collection[str]:
        """The namespaces that exist, but for the default one."""
        records = self.shared.all(KIND, SpaceRecord)
        return [name for name, record in records.items() if record.incarnation and _OF_NODE not in name]

    # ---- change

    async def make(self, namespace: str) -> SpaceRecord:
        """A namespace that exists, made if it does not.

        Its stamp is the lowest that counts here: merely to name a namespace on one node must not undo what was said
        of it on another, of which this one has yet to hear.
        """
        record = self.record(namespace)
        if record is not None and record.incarnation:
            return record
        ended = () if record is None else record.ended
        made = SpaceRecord(str(uuid.uuid4()), ended, self._first_hosts(namespace))
        entry = self.shared.entry(KIND, self._id(namespace))
        before = ZERO if entry is None else entry.stamp
        lowest = Stamp(before.time_ms, before.count + 1, self.local)
        await self.shared.put_stamped(KIND, self._id(namespace), lowest, made)
        return self.record(namespace) or made

    async def claim(self, namespace: str, incarnation: str) -> None:
        """This host has a part of a namespace: it is one of its hosts, whatever the others agreed on meanwhile.

        The namespace is brought back to life as `incarnation` if it does not exist.
        """
        record = self.record(namespace)
        if record is None or not record.incarnation:
            ended = () if record is None else record.ended
            record = SpaceRecord(incarnation or str(uuid.uuid4()), ended)
        if self.local not in record.hosts:
            await self._put(namespace, msgspec.structs.replace(record, hosts=(*record.hosts, self.local)))

    async def add(self, namespace: str, text: str) -> None:
        """Add hosts: a list with ranges, `all` peers, or `localhost`. Raises NotFound for those not in the mesh."""
        await self._set_hosts(namespace, (*self.hosts(namespace), *self._named(text, self._known())))

    async def remove(self, namespace: str, hosts: Collection[str]) -> None:
        """Take hosts out."""
        await self._set_hosts(namespace, [host for host in self.hosts(namespace) if host not in hosts])

    def named(self, namespace: str, text: str) -> Sequence[str]:
        """The hosts of a namespace a list names; peers `all`. Raises NotFound for those that are neither."""
        own = self.hosts(namespace)
        return [host for host in self._named(text, {*self._known(), *own}) if host in own]

    async def set_load(self, namespace: str, load: LoadFunction) -> None:
        """Count load in another way."""
        await self._put(namespace, msgspec.structs.replace(await self.make(namespace), load=load))

    async def set_caps(self, namespace: str, caps: Caps) -> None:
        """Promise no more than this on any host."""
        await self._put(namespace, msgspec.structs.replace(await self.make(namespace), caps=caps))

    async def end(self, namespace: str) -> None:
        """Let it be known that a namespace was destroyed."""
        record = self.record(namespace)
        if record is not None and record.incarnation:
            ended = (*record.ended, record.incarnation)[-_REMEMBERED:]
            await self._put(namespace, SpaceRecord(ended=ended))

    async def forget(self) -> None:
        """End the namespaces that have no other host: this daemon was told to quit."""
        for name in (*self.names(), DEFAULT_NAMESPACE):
            if set(self.hosts(name)) <= {self.local}:
                await self.end(name)

    # ---- inside

    def _id(self, namespace: str) -> str:
        return f"{namespace}{_OF_NODE}{self.local}" if namespace == DEFAULT_NAMESPACE else namespace

    def _first_hosts(self, namespace: str) -> tuple[str, ...]:
        peers = () if namespace == DEFAULT_NAMESPACE else tuple(self._peers())
        return peers or (self.local,)

    def _known(self) -> set[str]:
        return {self.local, *self._peers()}

    def _named(self, text: str, known: Collection[str]) -> list[str]:
        """The hosts a text names, each once, in order."""
        if text == EVERY_PEER:
            return list(self._peers())
        names = [self.local if name == LOCALHOST else name for name in expand(text)]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise NotFound(
                "\n".join(f"unknown host: `{name}`" for name in dict.fromkeys(unknown)),
                hint=f"the mesh has {compress(self._known())}; `mesh list` shows it",
            )
        return list(dict.fromkeys(names))

    async def _set_hosts(self, namespace: str, hosts: Sequence[str]) -> None:
        if namespace == DEFAULT_NAMESPACE:
            raise InvalidState(
                f'namespace "{namespace}" is every host\'s own and has the local host only',
                hint="make another: namespace <name>",
            )
        record = await self.make(namespace)
        await self._put(namespace, msgspec.structs.replace(record, hosts=tuple(dict.fromkeys(hosts))))

    async def _put(self, namespace: str, record: SpaceRecord) -> None:
        if record != self.record(namespace):
            await self.shared.put(KIND, self._id(namespace), record)
