"""Which certificates count no more, made known to all nodes; and nobody is served before this node knows it too.

A revocation is signed by a node that may do everything, so it does not matter which node passes it on. Nothing is ever
taken back: a node that is revoked by mistake is enrolled again, with another certificate. ::

    revoke here           -> kept on disk, and pushed to all members at once
    a node comes          -> the one whose name is first asks the other for the revocations it lacks; the other one asks
                             too, unless it has heard by then that both know the same
    its first request     -> waits (`Gate`) until those have answered that were away at the same time and are back

The last is for a node that was cut off, or down, while somebody was revoked: whoever knows of it went from its sight
together with the one it is about, and may come back a little later. It is waited for some seconds. A node that is alone
then with the one that asks, of all that were there, refuses it for a minute: it may be the revoked one. Not for ever:
the others may be dead (decision 24).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress

import msgspec

from megatools.hostkit.errors import InvalidState, MegaError, PermissionDenied, ProtocolError, Unavailable, chain_text
from megatools.hostkit.files import write_atomically
from megatools.hostkit.tasks import Supervisor, set_within
from megatools.minimega.mesh.credentials import MEMBERS_FILE, Credentials, CredentialStore, Revocation, read_private
from megatools.minimega.mesh.gate import Gate
from megatools.minimega.mesh.mesh import Caller, Ending, Member, Mesh, Role
from megatools.minimega.mesh.returning import Returning
from megatools.minimega.mesh.signing import prove, proven

_log = logging.getLogger(__name__)
SERVICE = "revoked"
_CONTEXT = b"megatools revocation 1\0"
_ASK_S = 2.0
_TURN_S = 0.15
_SAID_S = 1.0
_LONGEST_HOLD_S = 6.0  # after a partition heals, all are back in about five
_SLACK_S = 1.0
_ALONE_S = 60.0  # after a power cut, hosts are back within about a minute of each other
_SAVE_AFTER_S, _SAVE_AGAIN_S = 1.0, 10.0


class Known(msgspec.Struct, frozen=True, array_like=True):
    """The serial numbers the asker knows to be revoked, and entries it brings."""

    serials: tuple[str, ...] = ()
    entries: tuple[Revocation, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_known = msgspec.msgpack.Decoder(Known)
_entries = msgspec.msgpack.Decoder(tuple[Revocation, ...])


def signed(entry: Revocation, credentials: Credentials) -> Revocation:
    """A revocation that other nodes believe, if this node may do everything."""
    return msgspec.structs.replace(entry, proof=prove(credentials, _CONTEXT + _content(entry)))


def believed(entries: Iterable[Revocation], credentials: Credentials) -> list[Revocation]:
    """Those that a node of our cluster signed that may do everything, even if it was revoked since."""
    found: list[Revocation] = []
    for entry in entries:
        try:
            signer = proven(credentials, _CONTEXT + _content(entry), entry.proof)
        except PermissionDenied as error:
            _log.warning('a revocation of node "%s" is not believed: %s', entry.name, chain_text(error))
            continue
        if signer.role is Role.FULL and not signer.namespace:
            found.append(entry)
        else:
            _log.warning('a revocation of node "%s" is not believed: "%s" may not revoke', entry.name, signer.name)
    return found


def _content(entry: Revocation) -> bytes:
    return _encode((entry.serial, entry.name, entry.common_name, entry.at_s))


class Revocations:
    """One node's part."""

    def __init__(
        self,
        mesh: Mesh,
        store: CredentialStore,
        supervisor: Supervisor,
        gate: Gate,
    ) -> None:
        self._mesh = mesh
        self._store = store
        self._supervisor = supervisor
        self._settling: dict[str, asyncio.Task[None]] = {}  # by the member's id
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._turns: dict[str, asyncio.Event] = {}
        self._certificates: dict[str, str] = {}
        self._said: dict[str, float] = {}  # when a node said that it knows what we know, by its certificate
        self._came = asyncio.Event()
        self._nodes = Returning()
        self._saved: set[str] = set()
        self._looked_at: Sequence[Member] = ()
        self._saving: asyncio.TimerHandle | None = None
        gate.keeper = self
        gate.free = frozenset((SERVICE,))

    def start(self) -> None:
        """Serve and ask, until the supervisor ends."""
        self._mesh.serve(SERVICE, self._serve)
        self._saved = self._read()
        self._nodes.begin(self._saved, self._now_s())
        self._supervisor.keep("revocations", self._listen)

    async def revoke(self, entries: Sequence[Revocation]) -> list[str]:
        """Revoke, here and wherever a member is; returns the names of members that did not say that they know.

        Raises InvalidState when this node may not, Unavailable when it cannot be written down.
        """
        own = self._own()
        if own is None:
            raise InvalidState("this host is in no cluster")
        if own.identity.role is not Role.FULL or own.identity.namespace:
            raise InvalidState(f'node "{own.identity.name}" may not revoke', hint="use a node that is not limited")
        made = [signed(entry, own) for entry in entries]
        gone = {entry.name for entry in made}
        self._store.revoke(made)
        # The revoked node hears it too, if the question is out before the mesh cuts it off: it need not wonder then.
        targets = [member.name for member in self._mesh.members() if not member.doubled]
        message = _encode(Known((), tuple(made)))
        late: list[str] = []
        async with aclosing(self._mesh.call(targets, SERVICE, message, timeout_s=_ASK_S)) as arrivals:  # type: ignore[type-var]
            async for arrival in arrivals:
                if arrival.ending not in (None, Ending.DONE) and arrival.host not in gone:
                    late.append(arrival.host)
        return late

    async def admitted(self, caller: str) -> bool:
        """Wait until what others know of a node is known here too; whether that took any time.

        Raises Unavailable when nobody is there who could know.
        """
        if self._mesh.status().security != "tls":
            return False
        settling = self._settling_of(caller)
        if not settling:  # it asks before we have seen it come
            now_s = self._now_s()
            unseen = self._supervisor.start(f"revocations with {caller}", self._settle(caller, now_s))
            try:
                await self._held([unseen], now_s, caller)
            finally:
                unseen.cancel()
            return True
        waiting = [self._settling[identity] for identity in settling if not self._settling[identity].done()]
        if waiting:
            await self._held(waiting, max(map(self._nodes.came_s, settling)), caller)
        return bool(waiting)

    def admits(self, caller: str) -> bool:
        """Whether what others know of a node is known here."""
        if self._mesh.status().security != "tls":
            return True
        settling = self._settling_of(caller)
        return bool(settling) and all(self._settling[identity].done() for identity in settling)

    def _settling_of(self, caller: str) -> list[str]:
        members = self._mesh.members()
        if members is not self._looked_at:
            self._look()
        return [member.id for member in members if member.name == caller]

    def give_up(self, name: str) -> None:
        """A node that is waited for will not come back."""
        self._nodes.give_up(name)
        self._came.set()

    async def _held(self, waiting: Sequence[asyncio.Task[None]], came_s: float, caller: str) -> None:
        """Wait for a little while from when a node came. Raises Unavailable when that was not enough."""
        left_s = came_s + _LONGEST_HOLD_S + _ASK_S + _SLACK_S - self._now_s()
        _, pending = await asyncio.wait(waiting, timeout=max(left_s, 0.0))
        if pending:
            raise Unavailable(
                f'"{self._mesh.name}" was away and meets only "{caller}" of those it knew, which may have been revoked',
                hint=f"the others may know: at most {_ALONE_S:g} s. If they will not come back: `cluster forget` there",
            )

    async def _serve(self, caller: Caller, request: bytes) -> AsyncGenerator[bytes, None]:
        try:
            known = _known.decode(request)
        except msgspec.MsgspecError as error:
            raise ProtocolError(f'this is no message of service "{SERVICE}"') from error
        self._take(known.entries)
        serials = set(known.serials)
        if not known.entries:
            self._compared(caller.certificate, same=serials == set(self._store.revoked))
        yield _encode(tuple(e for e in self._store.revoked.values() if e.serial not in serials and e.proof))

    def _compared(self, certificate: str, *, same: bool) -> None:
        """A node told which revocations it knows; when those are all that we know, it need not be asked.

        A certificate and not a name, and one that its connection has proved too: a node that was revoked, while
        another one of its name was enrolled, must not speak for that.
        """
        if not certificate:
            return
        here = [identity for identity, proven in self._certificates.items() if proven == certificate]
        for identity in here:
            if same:
                self._nodes.told(identity)
            self._turns[identity].set()
        if same and not here:  # it sees us already, and is seen in a moment
            self._said[certificate] = self._now_s()
        self._came.set()

    def _take(self, entries: Iterable[Revocation]) -> None:
        unknown = [entry for entry in entries if entry.serial not in self._store.revoked]
        own = self._own() if unknown else None
        if own is None:
            return
        news = believed(unknown, own)
        for entry in news:
            _log.warning('node "%s" was revoked', entry.name)
        if news:
            self._store.mark_revoked(news)
            self._write_down()
        self._came.set()  # a revoked node is not waited for

    def _write_down(self) -> None:
        """Keep what was revoked for the next daemon; it counts here whether the disk takes it or not."""
        try:
            self._store.write_revoked()
        except MegaError as error:
            _log.warning("revocations are not kept: %s; tried again", chain_text(error))
            asyncio.get_running_loop().call_later(_SAVE_AGAIN_S, self._write_down)

    def _own(self) -> Credentials | None:
        try:
            return self._store.load()
        except MegaError as error:
            _log.info("%s", chain_text(error))  # this node was revoked itself, or its certificate ended
            return None

    # who comes

    async def _listen(self) -> None:
        self._look()  # nobody comes unseen: what follows listens before it waits
        async with aclosing(self._mesh.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if not event.joined:
                    self._part(event.member.id)  # it may be there again, and know more
                self._look()

    def _look(self) -> None:
        """See who came and who went: a member may be there before its event is read."""
        self._looked_at = self._mesh.members()
        members = {member.id: member for member in self._looked_at}
        if self._mesh.status().security != "tls":
            members, self._looked_at = {}, ()
        for identity in [identity for identity in self._settling if identity not in members]:
            self._part(identity)
        for identity, member in members.items():
            if identity not in self._settling:
                self._meet(identity, member.name, member.certificate)
        if members and self._saving is None and self._nodes.worth_keeping != self._saved:
            self._saving = asyncio.get_running_loop().call_later(_SAVE_AFTER_S, self._save)

    def _meet(self, identity: str, name: str, certificate: str) -> None:
        went_s = self._nodes.came(identity, name, self._now_s())
        said_s = self._said.pop(certificate, None)
        if said_s is not None and self._now_s() - said_s < _SAID_S:
            self._nodes.told(identity)
        self._turns[identity] = asyncio.Event()
        self._certificates[identity] = certificate
        self._asking[identity] = self._supervisor.start(f"revocations of {name}", self._hear(identity, name))
        self._settling[identity] = self._supervisor.start(f"revocations with {name}", self._settle(name, went_s))
        self._came.set()

    def _part(self, identity: str) -> None:
        if self._nodes.went(identity, self._now_s()):
            self._asking.pop(identity).cancel()
            del self._turns[identity], self._certificates[identity]
            self._settling.pop(identity).cancel()

    async def _settle(self, node: str, went_s: float) -> None:
        """Until those are back that went with or after a node that went then, and have answered; or long enough."""
        await self._until(lambda: not self._awaited(went_s), _LONGEST_HOLD_S)
        await self._told()
        if self._is_alone_with(node, went_s):
            _log.warning('of those this node knew only "%s" is there; it is not served yet', node)
            if not await self._until(lambda: not self._is_alone_with(node, went_s), _ALONE_S):
                for name in self._awaited(went_s):
                    self.give_up(name)
                self._look()
            await self._told()

    async def _told(self) -> None:
        """Until those there have told what they know, or did not in time."""
        asking = [task for task in self._asking.values() if not task.done()]
        if asking:
            await asyncio.wait(asking)

    async def _until(self, condition: Callable[[], bool], longest_s: float) -> bool:
        """Wait until those that came or answered make something true; whether they did in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                while not condition():
                    self._came.clear()
                    await self._came.wait()
                return True
        return False

    def _awaited(self, went_s: float) -> set[str]:
        return self._nodes.awaited(went_s, self._now_s(), self._revoked())

    def _is_alone_with(self, node: str, went_s: float) -> bool:
        return self._nodes.is_alone_with(node, went_s, self._now_s(), self._revoked())

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _revoked(self) -> set[str]:
        return {entry.name for entry in self._store.revoked.values()}

    def _read(self) -> set[str]:
        try:
            return msgspec.json.decode(read_private(self._store.directory / MEMBERS_FILE) or b"[]", type=set[str])
        except (MegaError, msgspec.MsgspecError) as error:
            _log.warning("the members of the last time are not known: %s", error)
            return set()

    def _save(self) -> None:
        self._saving = None
        names = self._nodes.worth_keeping
        try:
            write_atomically(self._store.directory / MEMBERS_FILE, msgspec.json.encode(sorted(names)))
        except MegaError as error:
            _log.warning("%s; tried again", chain_text(error))
            self._saving = asyncio.get_running_loop().call_later(_SAVE_AGAIN_S, self._save)
            return
        self._saved = names

    async def _hear(self, identity: str, node: str) -> None:
        """See to it that a node has told what it knows."""
        if node < self._mesh.name and not self._nodes.has_told(identity):
            await set_within(self._turns[identity], _TURN_S)
        if not self._nodes.has_told(identity):
            await self._ask(identity, node)

    async def _ask(self, identity: str, node: str) -> None:
        """Take the revocations that a node knows and this one does not."""
        message = _encode(Known(tuple(self._store.revoked)))
        async with aclosing(self._mesh.call([node], SERVICE, message, timeout_s=_ASK_S)) as arrivals:  # type: ignore[type-var]
            async for arrival in arrivals:
                if arrival.ending is None:
                    try:
                        self._take(_entries.decode(arrival.payload))
                    except msgspec.MsgspecError:
                        _log.warning('"%s" answered what is no list of revocations', node)
                elif arrival.ending is Ending.DONE:
                    self._nodes.told(identity)
                    self._came.set()
                else:
                    _log.info('"%s" did not say what it knows of revocations: %s', node, arrival.error)
