"""Requests for many hosts: this one directly, the others over the mesh; put together in `app`.

::

    stream(request) --+-- LocalHosts.answer ------------------------------------+
                      +-- mesh "run" --> serve(): limits, LocalHosts.answer ----+--> results as they arrive
                                                                                      (VM targets: `merging`)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias, Union

import msgspec

from megatools.hostkit.errors import InvalidInput, MegaError, ProtocolError, chain_text, hint_of
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster import wire
from megatools.minimega.cluster.calling import Parts, Patience, Voice, ask, working
from megatools.minimega.cluster.gathering import together
from megatools.minimega.cluster.hosts import LocalHosts
from megatools.minimega.cluster.merging import TargetMerge
from megatools.minimega.lang.limits import Limits
from megatools.minimega.lang.operation import Handlers, HostResult, Operation, Outcome, Reach, Request
from megatools.minimega.mesh.mesh import Arrival, Caller, Ending, Mesh, Role
from megatools.minimega.state.stamps import StampClock

SERVICE = "run"

# The hosts of a namespace, by name; one that does not exist is made of what a new one would be.
HostsOf: TypeAlias = Callable[[str], Sequence[str]]


class Asked(msgspec.Struct, frozen=True):
    """A request on its way to one host."""

    namespace: str
    operation: msgspec.Raw


def limits_of(caller: Caller) -> Limits:
    """What a caller may ask."""
    return Limits(caller.name, caller.role is Role.READ_ONLY, caller.namespace)


class Later(Protocol):
    """Keeps what can be done later (`errands`)."""

    async def postponed(self, request: Request, lost: HostResult) -> HostResult:
        """The result for a host that was lost."""
        ...


class MeshHosts:
    """Satisfies `Hosts` for the nodes of a mesh.

    `later` keeps what lost hosts can do once they are back; what `clock` stamps is later than all that was answered.
    """

    def __init__(
        self,
        here: LocalHosts,
        mesh: Mesh,
        hosts_of: HostsOf,
        patience: Patience,
        later: Later | None = None,
        clock: StampClock | None = None,
    ) -> None:
        self._here = here
        self._mesh = mesh
        self._hosts_of = hosts_of
        self._patience = patience
        self._later = later
        self._clock = clock

    @property
    def local(self) -> str:
        """The name of this host."""
        return self._here.local

    async def run(self, request: Request) -> list[HostResult]:
        """The results of all hosts, in the order of the hosts."""
        targets = self.targets(request)
        if tuple(targets) == (self.local,):
            return await self._here.run(request)
        place = {host: at for at, host in enumerate(targets)}
        results = [result async for result in self.stream(request)]
        return sorted(results, key=lambda result: place[result.host])

    async def stream(self, request: Request) -> AsyncIterator[HostResult]:
        """The results as they arrive."""
        targets = self.targets(request)
        merge = TargetMerge(targets) if request.operation.reach is Reach.VM else None
        async with aclosing(self._results(targets, request)) as results:
            async for result in results:
                for shown in [result] if merge is None else merge.take(result):
                    yield shown
        for shown in [] if merge is None else merge.rest():
            yield shown

    def targets(self, request: Request) -> Sequence[str]:
        """The hosts a request is for, each once."""
        if request.hosts:
            return tuple(dict.fromkeys(request.hosts))
        local = self.local
        match request.operation.reach:
            case Reach.LOCAL:
                return (local,)
            case Reach.NAMESPACE | Reach.VM:
                return tuple(dict.fromkeys(self._hosts_of(request.namespace)))
            case Reach.NAMESPACE_AND_LOCAL:
                return tuple(dict.fromkeys((local, *self._hosts_of(request.namespace))))
            case Reach.EVERYWHERE:
                members = (member.name for member in self._mesh.members())
                return tuple(dict.fromkeys((local, *members, *self._hosts_of(request.namespace))))

    async def _results(self, targets: Sequence[str], request: Request) -> AsyncGenerator[HostResult, None]:
        remote = [host for host in targets if host != self.local]
        if not remote:
            yield await self._here.answer(request)
            return
        own = [self._own(request)] if len(remote) < len(targets) else []
        async with aclosing(together(*own, self._remote(remote, request))) as results:
            async for result in results:
                yield result

    async def _own(self, request: Request) -> AsyncIterator[HostResult]:
        yield await self._here.answer(request)

    async def _remote(self, hosts: Sequence[str], request: Request) -> AsyncIterator[HostResult]:
        asked = Asked(request.namespace, msgspec.Raw(msgspec.msgpack.encode(request.operation)))
        waiting = set(hosts)
        asking = ask(self._mesh, hosts, SERVICE, msgspec.msgpack.encode(asked), self._patience, self._clock)
        async with aclosing(asking) as arrivals:
            async for arrival in arrivals:
                if arrival.host in waiting:
                    waiting.discard(arrival.host)
                    result = _result(arrival)
                    known = arrival.host in self._hosts_of(request.namespace)
                    if self._later is not None and known and result.outcome is Outcome.LOST:
                        result = await _postponed(self._later, request, result)
                    yield result


async def _postponed(later: Later, request: Request, lost: HostResult) -> HostResult:
    """The result for a host that was lost; that it cannot be kept here what was asked of it does not concern others."""
    try:
        return await later.postponed(request, lost)
    except MegaError as error:
        text = f"{lost.error}; what it was asked cannot be kept for it: {chain_text(error)}"
        return HostResult(lost.host, Outcome.ERROR, error=text, hint=hint_of(error), kind=type(error).__name__)


def _result(arrival: Arrival) -> HostResult:
    """A host's result from its message, or from the end that came instead."""
    match arrival.ending:
        case None:
            try:
                return wire.decode_result(arrival.payload, arrival.host)
            except msgspec.MsgspecError as error:
                text = f'the answer of "{arrival.host}" is unreadable: {error}'
                return HostResult(arrival.host, Outcome.ERROR, error=text, kind=ProtocolError.__name__)
        case Ending.DONE:
            text = f'"{arrival.host}" ended without an answer'
            return HostResult(arrival.host, Outcome.ERROR, error=text, kind=ProtocolError.__name__)
        case Ending.ERROR:
            outcome = Outcome.ERROR
        case Ending.LOST:
            outcome = Outcome.LOST
        case Ending.TIMED_OUT:
            outcome = Outcome.TIMED_OUT
    return HostResult(arrival.host, outcome, error=arrival.error, hint=arrival.hint, kind=arrival.kind)


def serve(
    mesh: Mesh, here: LocalHosts, handlers: Handlers, supervisor: Supervisor, clock: StampClock | None = None
) -> None:
    """Answer requests of other nodes from now on."""
    asked_decoder = msgspec.msgpack.Decoder(Asked)
    decoder: msgspec.msgpack.Decoder[Operation] = msgspec.msgpack.Decoder(_union(handlers))

    def answer(caller: Caller, payload: bytes) -> Parts:
        try:
            asked = asked_decoder.decode(payload)
            operation = decoder.decode(asked.operation)
        except msgspec.MsgspecError as error:
            raise InvalidInput(
                f'"{mesh.name}" does not understand the request', hint=f"{error}; are all nodes of one version?"
            ) from error
        limits_of(caller).check_operation(asked.namespace, operation)

        async def work(voice: Voice) -> None:
            await voice.say(wire.encode(await here.answer(Request(asked.namespace, operation))))

        return working(supervisor, f"{type(operation).__name__} for {caller.name}", work, clock)

    mesh.serve(SERVICE, answer)


def _union(handlers: Handlers) -> Any:
    return Union[tuple(handlers)]  # noqa: UP007 - made of the operations there are
