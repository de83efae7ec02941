"""This host's part in joining a namespace's hosts with one bridge: it makes its tunnels what was agreed on.

What joins the hosts is a shared record with kind and key, decided once by whoever asked (`cluster.bridging`); where a
host is reached is another, written by that host. Every host makes its own tunnels from them, so hosts that are added
later, come back or change their address are joined too, without anyone's help::

    any change of records, hosts or address -> settle
    SettleBridge (somebody waits for it)    -> the records have come -> settle -> answer

Records of a namespace that was destroyed name an incarnation that is no more, and count for nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import msgspec

from megatools.hostkit.errors import MegaError, Unavailable, chain_text
from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.lang.answer import Answer
from megatools.minimega.lang.operation import Handlers, Operation, Reach
from megatools.minimega.namespace.membership import KIND as NAMESPACE_KIND
from megatools.minimega.namespace.membership import Membership
from megatools.minimega.net.joining import BridgeEnd
from megatools.minimega.net.meshes import Want
from megatools.minimega.state.stamps import ZERO, Stamp

_log = logging.getLogger(__name__)
KIND = "ns-bridge"
ADDRESS_KIND = "host-address"
_LOOK_S = 30.0
_HEAR_S = 10.0


class JoinRecord(msgspec.Struct, frozen=True):
    """Shared kind `ns-bridge`, id namespace/bridge: how the hosts of one incarnation of a namespace are joined."""

    incarnation: str
    kind: TunnelKind
    key: int


class AddressRecord(msgspec.Struct, frozen=True):
    """Shared kind `host-address`, by host: where its tunnels end."""

    address: str


class TellEnd(Operation, frozen=True):
    """Tell how a bridge is here, a `BridgeEnd` in `data`, and let all know where this host is reached.

    Asked of hosts by name, by nodes without limits: all VLANs of a host pass the bridges that are joined then.
    """

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str


class SettleBridge(Operation, frozen=True):
    """Make the tunnels of a bridge what was agreed on, and answer when they are up.

    The answer waits until this host knows what was agreed on when it was asked: the namespace's hosts (`space`), how
    they are joined (`join`), and where those are reached that were asked with it (`hosts`).
    """

    reach: ClassVar[Reach] = Reach.LOCAL

    bridge: str
    space: Stamp
    join: Stamp
    hosts: tuple[str, ...]


class Ways(Protocol):
    """The ways from this host to others: `net.joining`, or a twin in tests."""

    def address(self) -> str:
        """Where other hosts reach this one now; empty: nowhere."""
        ...

    async def end(self, bridge: str) -> BridgeEnd:
        """How a bridge is here."""
        ...

    def wants(self, namespace: str) -> list[Want]:
        """What a namespace has been joined to."""
        ...

    def namespaces(self) -> set[str]:
        """The namespaces that are joined to other hosts."""
        ...

    async def join(self, want: Want) -> None:
        """Join a bridge to those of other hosts."""
        ...

    async def leave(self, namespace: str, bridge: str) -> None:
        """Let a bridge be this host's own again."""
        ...


class Settling:
    """This host's part: it obeys the records."""

    def __init__(self, membership: Membership, ways: Ways, is_alone: Callable[[], bool]) -> None:
        """`is_alone` says that no other host is there, to whom our address would matter."""
        self._membership = membership
        self._shared = membership.shared
        self._ways = ways
        self._is_alone = is_alone
        self._lock = asyncio.Lock()
        self._changed = asyncio.Event()
        self._waiting: list[asyncio.Event] = []
        for kind in (KIND, ADDRESS_KIND, NAMESPACE_KIND):
            self._shared.watch(kind, self._note)

    async def run(self) -> None:
        """Settle at every change, and now and then: addresses change without a word. Started by `app`."""
        while True:
            self._changed.clear()
            await self._look()
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def handlers(self) -> Handlers:
        """The functions that answer on this host."""

        async def tell(_: str, asked: TellEnd) -> Answer:
            await self.publish()
            return Answer(data=msgspec.Raw(msgspec.json.encode(await self._ways.end(asked.bridge))))

        async def settle(namespace: str, asked: SettleBridge) -> Answer:
            await self._hear(namespace, asked)
            await self.settle(namespace)
            return Answer()

        return {TellEnd: tell, SettleBridge: settle}

    async def publish(self) -> None:
        """Let the others know where this host's tunnels end, if that is new."""
        address = self._ways.address()
        known = self._shared.get(ADDRESS_KIND, self._membership.local, AddressRecord)
        if address and (known is None or known.address != address):
            await self._shared.put(ADDRESS_KIND, self._membership.local, AddressRecord(address))

    async def settle(self, namespace: str) -> None:
        """Make this host's tunnels for a namespace what was agreed on. Raises what went wrong."""
        async with self._lock:
            wanted = self._wanted(namespace)
            present = {want.bridge: want for want in self._ways.wants(namespace)}
            for bridge in present.keys() - wanted.keys():
                await self._ways.leave(namespace, bridge)
            for bridge, want in wanted.items():
                if present.get(bridge) != want:
                    await self._ways.join(want)

    def _wanted(self, namespace: str) -> Mapping[str, Want]:
        """What a namespace wants of this host, by bridge; nothing where there is no other host."""
        hosts = self._membership.hosts(namespace)
        if self._membership.local not in hosts:
            return {}
        addresses = self._shared.all(ADDRESS_KIND, AddressRecord)
        others = {addresses[host].address for host in hosts if host in addresses and host != self._membership.local}
        remotes = tuple(sorted(others))
        agreed = joins(self._membership, namespace)
        return {
            bridge: Want(namespace, bridge, record.kind, record.key, remotes)
            for bridge, record in agreed.items()
            if remotes
        }

    async def _look(self) -> None:
        if not self._is_alone():
            try:
                await self.publish()
            except MegaError as error:
                _log.warning("others cannot be told where this host is reached: %s; again later", chain_text(error))
        for namespace in sorted({*self._membership.names(), *self._ways.namespaces()}):
            try:
                await self.settle(namespace)
            except MegaError as error:
                _log.error('hosts of namespace "%s" are not joined with this one: %s', namespace, chain_text(error))

    async def _hear(self, namespace: str, asked: SettleBridge) -> None:
        """Wait for the records that whoever asked knows. Raises Unavailable."""
        heard = asyncio.Event()
        self._waiting.append(heard)
        try:
            async with asyncio.timeout(_HEAR_S):
                while not self._knows(namespace, asked):
                    heard.clear()
                    await heard.wait()
        except TimeoutError as error:
            what = f'this host has not heard how the hosts of namespace "{namespace}" are joined'
            raise Unavailable(what, hint="it follows once it has") from error
        finally:
            self._waiting.remove(heard)

    def _knows(self, namespace: str, asked: SettleBridge) -> bool:
        space, join = stamps(self._membership, namespace, asked.bridge)
        addresses = self._shared.all(ADDRESS_KIND, AddressRecord)
        ends = set(asked.hosts).intersection(self._membership.hosts(namespace))
        return space >= asked.space and join >= asked.join and ends <= addresses.keys()

    def _note(self, _id: str) -> None:
        self._changed.set()
        for heard in self._waiting:
            heard.set()


def joins(membership: Membership, namespace: str) -> Mapping[str, JoinRecord]:
    """How the hosts of a namespace are joined, by bridge."""
    space = membership.record(namespace)
    if space is None or not space.incarnation:
        return {}
    records = membership.shared.all(KIND, JoinRecord)
    return {
        bridge: record
        for name, _, bridge, record in ((*id.rpartition("/"), record) for id, record in records.items())
        if name == namespace and record.incarnation == space.incarnation
    }


def stamps(membership: Membership, namespace: str, bridge: str) -> tuple[Stamp, Stamp]:
    """When was agreed on what is known here: the hosts of a namespace, and how a bridge joins them."""
    entries = (
        membership.shared.entry(NAMESPACE_KIND, namespace),
        membership.shared.entry(KIND, join_id(namespace, bridge)),
    )
    space, join = (entry.stamp if entry is not None else ZERO for entry in entries)
    return space, join


def join_id(namespace: str, bridge: str) -> str:
    """The id of a namespace's record for a bridge."""
    return f"{namespace}/{bridge}"
