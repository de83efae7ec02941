"""The engine process: a Zenoh session, driven by a daemon over a socket pair (`mesh.frames`).

Started by `mesh.engine_process` as `python -m megatools.minimega.mesh.engine FD`; the only module that imports zenoh.
It holds no state that matters: when it dies, the daemon starts another one. It ends when the daemon closes the socket.

What may block (sending to a peer whose connection is stuck) is done in a lane, a thread per peer, so that one
peer that hangs holds up nobody else::

    socket --main thread--> lanes --> zenoh --callbacks in zenoh's threads--> socket

Keys: `PREFIX/alive/NAME/ID/ADDRESS` is a liveliness token, `PREFIX/node/NAME/rpc` takes requests,
`PREFIX/node/NAME/probe` is answered here.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote, unquote

import zenoh

from megatools.minimega.mesh import frames
from megatools.minimega.mesh.engine_links import shut_down
from megatools.minimega.mesh.lanes import Lanes
from megatools.minimega.mesh.speech import Speech

_DIAL_S = 5.0
_LOOK_S = 3.0
_POLL_S = 0.02
_CLOSE_S = 0.5
_BUFFER = 1 << 22

_IDENTITY = re.compile(r"[0-9a-f]{1,32}")
T = TypeVar("T")


def main() -> None:
    """Be the engine of the daemon at the other end of the descriptor given, until it closes the socket."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    try:
        Engine(channel).run()
    except zenoh.ZError as error:
        _say(str(error))
        os._exit(1)
    os._exit(0)  # without the interpreter's own ending, which can wait for threads of the engine for ever


class _Call:
    """A request of ours on its way: how to stop it, and how many of its parts have not finished."""

    def __init__(self, parts: int) -> None:
        self.token = zenoh.CancellationToken()
        self.left = parts


class Engine:
    """One session and the conversation with the daemon."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._speech = Speech(channel)
        self._lanes = Lanes()
        self._numbers = itertools.count(1)
        self._queries: dict[int, zenoh.Query] = {}
        self._calls: dict[int, _Call] = {}
        self._session: zenoh.Session | None = None
        self._held: list[object] = []
        self._joined = False
        self._denied: frozenset[str] = frozenset()
        self._id = self._prefix = self._key = self._sign_of_life = ""

    def run(self) -> None:
        """Do what the daemon says until it closes the socket."""
        cutter = frames.Cutter()
        while data := self._receive():
            for body in cutter.feed(data):
                self._do(frames.to_engine(body))
        closing = threading.Thread(target=self.session.close, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)  # one whose inside is broken never ends

    @property
    def session(self) -> zenoh.Session:
        """The session; the first frame opens it."""
        assert self._session is not None
        return self._session

    def _receive(self) -> bytes:
        try:
            return self._channel.recv(1 << 18)
        except ConnectionError:
            return b""  # the daemon is gone

    def _do(self, frame: frames.ToEngine) -> None:
        match frame:
            case frames.Open():
                self._open(frame)
            case frames.Join():
                self._join()
            case frames.Ask():
                self._lanes.do(frame.nodes, len(frame.payload), lambda: self._ask(frame))
            case frames.Answer():
                self._lanes.do((frame.lane,), len(frame.payload), lambda: self._answer(frame))
            case _:
                self._do_aside(frame)

    def _do_aside(self, frame: frames.ToEngine) -> None:
        match frame:
            case frames.Forget(call) if call in self._calls:
                self._lanes.put("/forget", self._calls[call].token.cancel)
            case frames.Dial():
                self._lanes.put(f"/dial {frame.endpoint}", lambda: self._dial(frame))
            case frames.Cut():
                self._lanes.put("/cut", lambda: self._cut(frame))
            case frames.Deny(names):
                self._denied = frozenset(names)
                self._lanes.put("/cut", self._cut_denied)
            case frames.Probe():
                self._lanes.put(f"/probe {frame.node}", lambda: self._probe(frame))
            case _:
                pass  # forget a call that is over

    def _tell(self, frame: frames.FromEngine) -> None:
        self._speech.say(frames.encode(frame))

    # the session

    def _open(self, frame: frames.Open) -> None:
        self._session = session = zenoh.open(zenoh.Config.from_json5(frame.config))
        self._id = str(session.zid())
        self._prefix = frame.prefix
        self._denied = frozenset(frame.denied)
        name = quote(frame.name, safe="")
        self._key = f"{self._prefix}/node/{name}/rpc"
        self._sign_of_life = f"{self._prefix}/alive/{name}/{self._id}/{quote(frame.address, safe=':.[]') or '-'}"
        self._tell(frames.Opened(self._id))
        self._held = [
            session.info.declare_link_events_listener(_direct(self._link_seen), history=True),
            session.declare_queryable(f"{self._prefix}/node/{name}/probe", _direct(_probed), complete=True),
            session.liveliness().declare_subscriber(f"{self._prefix}/alive/**", _direct(self._token), history=True),
        ]

    def _join(self) -> None:
        if self._joined:
            return
        self._joined = True
        self._held += [
            self.session.declare_queryable(self._key, _direct(self._asked), complete=True),
            self.session.liveliness().declare_token(self._sign_of_life),
        ]

    def _token(self, sample: zenoh.Sample) -> None:
        words = str(sample.key_expr).removeprefix(f"{self._prefix}/alive/").split("/")
        if len(words) != 3 or words[1] == self._id or not _IDENTITY.fullmatch(words[1]):
            return
        name, identity, address = words[0], words[1], unquote(words[2]) if words[2] != "-" else ""
        alive = sample.kind == zenoh.SampleKind.PUT
        self._tell(frames.Token(unquote(name), identity, address, alive))

    def _link_seen(self, event: zenoh.LinkEvent) -> None:
        link = event.link
        up = event.kind == zenoh.SampleKind.PUT
        if up and link.auth_identifier in self._denied:
            self._lanes.put("/cut", lambda: shut_down([(link.src, link.dst)]))
            return
        self._tell(frames.LinkSeen(str(link.zid), link.src, link.dst, link.auth_identifier or "", up))

    # requests of other nodes

    def _asked(self, query: zenoh.Query) -> None:
        payload = query.payload
        if payload is None:
            _drop(query)
            return
        number = next(self._numbers)
        self._queries[number] = query
        self._tell(frames.Asked(number, payload.to_bytes()))

    def _answer(self, frame: frames.Answer) -> None:
        query = self._queries.get(frame.query)
        if query is None:
            return
        try:
            if frame.payload:
                query.reply(self._key, frame.payload)
        except zenoh.ZError as error:
            _say(f"a reply was not sent: {error}")
        finally:
            if frame.last:
                del self._queries[frame.query]
                _drop(query)
            if frame.mark:
                self._tell(frames.Sent(frame.query))

    # requests of ours

    def _ask(self, frame: frames.Ask) -> None:
        known = self._calls[frame.call] = _Call(len(frame.nodes) or 1)
        for node in frame.nodes or ("*",):
            name = "" if node == "*" else node
            self._get(frame, name, f"{self._prefix}/node/{quote(node, safe='*')}/rpc", known)

    def _get(self, frame: frames.Ask, name: str, key: str, known: _Call) -> None:
        call = frame.call

        def replied(reply: zenoh.Reply) -> None:
            sample = reply.ok
            if sample is not None:
                who = reply.replier_id
                self._tell(frames.Replied(call, str(who.zid) if who else "", sample.payload.to_bytes()))

        def finished() -> None:
            known.left -= 1
            if not known.left:
                self._calls.pop(call, None)
            self._tell(frames.Finished(call, name))

        try:
            self.session.get(
                key,
                zenoh.handlers.Callback(replied, finished, indirect=False),
                target=zenoh.QueryTarget.ALL,
                consolidation=zenoh.ConsolidationMode.NONE,
                timeout=frame.timeout_s,
                payload=frame.payload,
                allowed_destination=zenoh.Locality.REMOTE,
                cancellation_token=known.token,
            )
        except zenoh.ZError as error:
            _say(f"a request was not sent: {error}")
            finished()

    # the rest

    def _dial(self, frame: frames.Dial) -> None:
        """Stand between our own listener and the far one for a moment: each tells the other about its neighbours.

        Before that, see who is there: two meshes that were joined once cannot be parted.
        """
        met, error = "", f'no answer from "{frame.endpoint}"'
        with contextlib.suppress(zenoh.ZError):
            if self._is_of_ours(frame.look):
                with zenoh.open(zenoh.Config.from_json5(frame.join)) as guide:
                    met, error = self._introduce(guide, frame.endpoint)
            else:
                error = f'"{frame.endpoint}" {frames.ANOTHER_MESH}'
        self._tell(frames.Outcome(frame.ticket, error, met))

    def _is_of_ours(self, config: str) -> bool:
        """Whether somebody lives behind an endpoint under the keys of our mesh. Raises ZError when nobody answers."""
        deadline = time.monotonic() + _LOOK_S
        with zenoh.open(zenoh.Config.from_json5(config)) as guest:
            while time.monotonic() < deadline:
                replies = guest.liveliness().get(f"{self._prefix}/alive/**", timeout=_LOOK_S)
                if any(reply.ok is not None for reply in replies):
                    return True
                time.sleep(_POLL_S)
        return False

    def _introduce(self, guide: zenoh.Session, endpoint: str) -> tuple[str, str]:
        """The engine met, and what went wrong."""
        deadline = time.monotonic() + _DIAL_S
        met: set[str] = set()
        while time.monotonic() < deadline:
            met |= {str(zid) for zid in (*guide.info.peers_zid(), *guide.info.routers_zid())} - {self._id}
            ours = {str(zid) for zid in (*self.session.info.peers_zid(), *self.session.info.routers_zid())}
            if met & ours:
                return (met & ours).pop(), ""
            time.sleep(_POLL_S)
        return "", f'"{endpoint}" answered, but did not connect' if met else f'no answer from "{endpoint}"'

    def _cut(self, frame: frames.Cut) -> None:
        links = [(link.src, link.dst) for link in self.session.info.links() if str(link.zid) == frame.id]
        done = shut_down(links)
        self._tell(frames.Outcome(frame.ticket, "" if done == len(links) else "a connection was not found"))

    def _cut_denied(self) -> None:
        links = self.session.info.links()
        shut_down([(link.src, link.dst) for link in links if link.auth_identifier in self._denied])

    def _probe(self, frame: frames.Probe) -> None:
        key = f"{self._prefix}/node/{quote(frame.node, safe='')}/probe"
        replies = self.session.get(key, target=zenoh.QueryTarget.ALL, timeout=frame.timeout_s)
        answered = any(reply.ok is not None for reply in replies)
        self._tell(frames.Outcome(frame.ticket, "" if answered else f'the engine of "{frame.node}" does not answer'))


def _direct(callback: Callable[[T], None]) -> zenoh.handlers.Callback[T]:
    """Call back in zenoh's own threads; it would start a Python thread for each handler otherwise."""
    return zenoh.handlers.Callback(callback, indirect=False)


def _drop(query: zenoh.Query) -> None:
    query.drop()  # type: ignore[no-untyped-call]


def _say(text: str) -> None:
    """For the daemon's log."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _probed(query: zenoh.Query) -> None:
    query.reply(query.key_expr, b"")
    _drop(query)


if __name__ == "__main__":
    main()
