r"""Who gives VLAN numbers to names where other hosts have a say: the hosts of the namespace, by decree.

Satisfies `net.vlan_numbers.Decider`; made and started by `app`. Of one table, changes that wait at the same moment are
decided together, one batch after the other::

    resolve, vlans add ... --> line of the table --> its owner, if it can be reached --+
                                                 \-> this host itself (`proposing`) ---+--> outcomes
    other hosts' Ask, Prepare, Accept --> serve
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

import msgspec

from megatools.hostkit import errors
from megatools.hostkit.errors import MegaError, PermissionDenied, ProtocolError, Unavailable
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster.polling import Poll
from megatools.minimega.cluster.proposing import Proposer
from megatools.minimega.cluster.vlan_messages import SERVICE, Accept, Answered, Ask, Prepare, Question, Reply, Request
from megatools.minimega.cluster.vlan_table import AddAlias, Allocate, Blacklist, Change, Clear, Outcome, SetRange
from megatools.minimega.cluster.vlan_tables import VlanTables
from megatools.minimega.cluster.voting import Voting
from megatools.minimega.mesh.mesh import Caller, Ending, Mesh, Role
from megatools.minimega.net.vlan_numbers import Range
from megatools.minimega.state.stamps import ZERO

_log = logging.getLogger(__name__)
_OWNER_S = 3.0
_COMES_S = 1.0
_AVOID_OWNER_S = 10.0
_READY_S = 3.0
_AT_ONCE = 500


@dataclass(frozen=True)
class _Waiting:
    """A change in line; `here`: this host was asked to decide it."""

    change: Change
    here: bool
    done: asyncio.Future[Outcome]


class Authority:
    """This host's part in deciding about VLANs."""

    def __init__(self, mesh: Mesh, tables: VlanTables, voting: Voting, supervisor: Supervisor) -> None:
        self._mesh = mesh
        self._tables = tables
        self._voting = voting
        self._supervisor = supervisor
        self._proposer = Proposer(tables, voting, lambda: Poll(mesh, supervisor, self._elect))
        self._lines: dict[str, list[_Waiting]] = {}
        self._slow_until: dict[str, float] = {}
        self._decoder = msgspec.msgpack.Decoder[Request](Request)
        self.ready = asyncio.Event()  # it is known who else there is
        self.when_awaited: Callable[[], None] = lambda: None  # called when somebody waits for that

    def serve(self) -> None:
        """Vote and decide for other hosts from now on."""
        self._mesh.serve(SERVICE, self._serve)

    # ---- Decider

    def decides(self, namespace: str) -> bool:
        """Whether other hosts have a say: there is a mesh, or there was one and its members count on this host."""
        key = self._tables.key_of(namespace)
        if key is None:
            return False
        hosts = {*self._tables.hosts(key), *self._tables.council(key).names}
        return hosts != {self._tables.roster.local} or self._mesh.status().mode != "none"

    async def allocate(self, namespace: str, name: str) -> int:
        """The number of a name, given on first use."""
        return (await self._decided(namespace, Allocate((name,)))).numbers[name]

    async def add(self, namespace: str, alias: str, number: int) -> None:
        """Give a number a name."""
        await self._decided(namespace, AddAlias(alias, number))

    async def set_range(self, namespace: str, own: Range) -> None:
        """Give out numbers of this range from now on."""
        await self._decided(namespace, SetRange(own.low, own.high))

    async def blacklist(self, namespace: str, number: int) -> None:
        """Never give out a number."""
        await self._decided(namespace, Blacklist(number))

    async def clear(self, namespace: str, prefix: str | None) -> None:
        """Drop names by prefix."""
        await self._decided(namespace, Clear(prefix))

    async def _decided(self, namespace: str, change: Change) -> Outcome:
        key = self._tables.key_of(namespace)
        if key is None:
            raise Unavailable(f'namespace "{namespace}" was destroyed meanwhile')
        outcome = await self.change(key, change)
        if outcome.error:
            kind: type[MegaError] = getattr(errors, outcome.kind, Unavailable)
            raise kind(outcome.error, hint=outcome.hint)
        return outcome

    # ---- one batch after the other

    async def change(self, key: str, change: Change, *, here: bool = False) -> Outcome:
        """Have a table changed. Raises Unavailable when too few hosts answer."""
        await self._wait_until_ready()
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = []
            self._supervisor.start(f"decide VLANs of {key}", self._work_off(key))
        line.append(_Waiting(change, here, done))
        return await done

    async def _wait_until_ready(self) -> None:
        if not self.ready.is_set():
            self.when_awaited()
        try:
            async with asyncio.timeout(_READY_S):
                await self.ready.wait()
        except TimeoutError:
            _log.info("VLANs are decided on before it is known who else there is")

    async def _work_off(self, key: str) -> None:
        try:
            while self._lines[key]:
                batch, self._lines[key] = self._lines[key][:_AT_ONCE], self._lines[key][_AT_ONCE:]
                await self._settle(key, batch)
        finally:
            for waiting in self._lines.pop(key):
                waiting.done.cancel()

    async def _settle(self, key: str, batch: Sequence[_Waiting]) -> None:
        changes = [waiting.change for waiting in batch]
        try:
            outcomes = await self._decide(key, changes, here=any(waiting.here for waiting in batch))
        except BaseException as error:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(
                        error if isinstance(error, MegaError) else Unavailable("minimega is ending")
                    )
            if not isinstance(error, MegaError):
                raise
            return
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(outcome)

    async def _decide(self, key: str, changes: Sequence[Change], *, here: bool) -> Sequence[Outcome]:
        owner = self._tables.council(key).owner
        again = False
        if not here and owner != self._mesh.name and self._is_there(owner):
            outcomes, again = await self._ask_owner(owner, Ask(key, tuple(changes)))
            if outcomes is not None:
                return outcomes
        return await self._proposer.decide(key, changes, again=again)

    def _is_there(self, node: str) -> bool:
        if asyncio.get_running_loop().time() < self._slow_until.get(node, 0.0):
            return False
        return any(member.name == node and not member.doubled for member in self._mesh.members())

    async def _ask_owner(self, owner: str, request: Ask) -> tuple[Sequence[Outcome] | None, bool]:
        """The owner's outcomes, if it has any; and whether it may have decided without being heard."""
        outcomes: Sequence[Outcome] | None = None
        encoded = msgspec.msgpack.encode(request)
        async for arrival in self._mesh.call([owner], SERVICE, encoded, timeout_s=_OWNER_S):
            if arrival.ending is None:
                answer = msgspec.msgpack.decode(arrival.payload, type=Answered)
                outcomes = answer.outcomes
                # What was decided is pushed to all, and signed; this host shows no less than its user is told.
                if not await self._tables.has_come(request.key, answer.ballot, _COMES_S):
                    _log.info('what "%s" decided about the VLANs of %s has not come yet', owner, request.key)
            elif arrival.ending is not Ending.DONE:
                _log.info('"%s", who owns the VLANs of %s: %s', owner, request.key, arrival.error)
                if arrival.ending is Ending.TIMED_OUT:
                    self._slow_until[owner] = asyncio.get_running_loop().time() + _AVOID_OWNER_S
                return outcomes, arrival.ending is not Ending.ERROR
        return outcomes, True

    # ---- what other hosts ask

    async def _serve(self, caller: Caller, payload: bytes) -> AsyncGenerator[bytes, None]:
        try:
            request = self._decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f'"{caller.name}" sent what is no message of service "{SERVICE}"') from error
        namespace = self._tables.namespace_of(request.key)
        if caller.role is not Role.FULL or caller.namespace not in ("", namespace):
            raise PermissionDenied(f'"{caller.name}" may not change the VLANs of namespace "{namespace}"')
        if isinstance(request, Ask):
            outcomes = await self._for_another(request)
            passed = self._tables.passed(request.key)
            reply: Reply = Answered(tuple(outcomes), ZERO if passed is None else passed.ballot)
        else:
            reply = await self._elect(request)
        yield msgspec.msgpack.encode(reply)

    async def _for_another(self, request: Ask) -> list[Outcome]:
        outcomes = await asyncio.gather(
            *(self.change(request.key, change, here=True) for change in request.changes), return_exceptions=True
        )
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for failure in failed:
            raise failure
        return [outcome for outcome in outcomes if isinstance(outcome, Outcome)]

    async def _elect(self, request: Question) -> Reply:
        tables = self._tables
        match request:
            case Prepare(key, ballot):
                return await self._voting.prepare(key, ballot, lambda: tables.busy(key), tables.own(key))
            case Accept(key, decree, fresh):
                return await self._voting.accept(key, decree, self._proposer.conflicts(key, fresh))
