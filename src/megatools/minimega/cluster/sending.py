"""Commands as words for other nodes: `mesh send` and the classic words (spec B.10, B.20, D.15, D.25).

The words run in the other's interpreter, because its state counts (its VM configuration, its files), in the namespace
and with the variables of the sender, as a session of source `mesh`: what it asks of hosts, it asks of that host only.
What the other says comes back group by group; a node that is silent too long is named and not waited for. Any number
of commands may be on their way.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from typing import TypeAlias, TypeVar

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound
from megatools.hostkit.ranges import by_number, expand
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.cluster import wire
from megatools.minimega.cluster.calling import Parts, Patience, Voice, ask, working
from megatools.minimega.cluster.fanout import limits_of
from megatools.minimega.cluster.gathering import batches, together
from megatools.minimega.cluster.wire import Part
from megatools.minimega.lang.answer import Group, Groups, Response
from megatools.minimega.lang.call import Call, Invocation, Session
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.mesh.mesh import Arrival, Caller, Ending, Mesh
from megatools.minimega.state.stamps import StampClock

S = TypeVar("S")
SERVICE = "command"
ALL = "all"
LOCALHOST = "localhost"
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^{}]*)\})", re.ASCII)
_COMPOUND = ("mesh_set", "mesh_broadcast")
_REFUSED = ("mesh send", "read", "ns run")

_Said: TypeAlias = tuple[str, Group]


class Command(msgspec.Struct, frozen=True):
    """A command on its way: its words, and what surrounds it at the sender."""

    words: tuple[str, ...]
    namespace: str
    variables: dict[str, str]
    preprocess: bool = True


def refuse_nested(invocation: Invocation) -> None:
    """Raise InvalidState for commands that would go on to other nodes, or read files of lines."""
    inner: Invocation | None = invocation
    while inner is not None:
        _refuse(inner.pattern)
        inner = inner.nested


@cache
def _refuse(pattern: str) -> None:
    if pattern.split(maxsplit=1)[0] in _COMPOUND:
        raise InvalidState("compound mesh commands are not allowed")
    for name in _REFUSED:
        if f"{pattern} ".startswith(f"{name} "):
            raise InvalidState(f"cannot run `{name}` via meshage", hint="run it on that host itself")


class Sender:
    """Sends commands to nodes of the mesh."""

    def __init__(self, mesh: Mesh, patience: Patience, clock: StampClock | None = None) -> None:
        """What `clock` stamps is later than all that was answered."""
        self._mesh = mesh
        self._patience = patience
        self._clock = clock

    def recipients(self, hosts: str) -> Sequence[str]:
        """The nodes that a list with ranges names, or `all` others; each once.

        Raises InvalidInput, or NotFound when all others are nobody.
        """
        names = [self._mesh.name if name == LOCALHOST else name for name in expand(hosts)]
        if not names:
            raise InvalidInput("no hosts named", hint='a list like kn[1-3], or "all"')
        if ALL not in names:
            return tuple(dict.fromkeys(names))
        if len(set(names)) > 1:
            raise InvalidInput("wildcard included amongst list of recipients", hint='"all" stands alone')
        others = tuple(member.name for member in self._mesh.members())
        if not others:
            raise NotFound("no other node is in the mesh", hint="`mesh status` says how this host stands to a mesh")
        return others

    async def send(self, call: Call[S], hosts: str, command: Invocation) -> Groups:
        """What the recipients answer, those that answer together in one group. Raises before anything is sent."""
        return await self.send_to(call, self.recipients(hosts), command)

    async def send_to(self, call: Call[S], recipients: Sequence[str], command: Invocation) -> Groups:
        """The same for nodes by name, this one may be among them. Raises InvalidState for what cannot be sent."""
        if call.session.source == "mesh":
            raise InvalidState("cannot run `mesh send` via meshage", hint="run it on that host itself")
        refuse_nested(command)
        return self._groups(call, recipients, command)

    async def _groups(self, call: Call[S], recipients: Sequence[str], command: Invocation) -> Groups:
        own = self._mesh.name
        others = [name for name in recipients if name != own]
        sources: list[AsyncIterator[_Said]] = [self._here(call, command)] if own in recipients else []
        if others:
            sources.append(self._there(call, others, command))
        async with aclosing(together(*sources)) as said:
            async for batch in batches(said):
                for group in _aligned(batch):
                    yield group

    async def _here(self, call: Call[S], command: Invocation) -> AsyncGenerator[_Said, None]:
        """This node may be among the recipients; it then acts like any other."""
        session = Session(call.namespace, "mesh", call.session.status)
        inner = call.interpreter.call(command.text, session)
        inner.scope.options = inner.scope.options.put("preprocess", call.scope.options.preprocess)
        async for group in call.interpreter.run(inner, command):
            yield self._mesh.name, group

    async def _there(self, call: Call[S], hosts: Sequence[str], command: Invocation) -> AsyncGenerator[_Said, None]:
        environment = call.session.environment
        variables = _variables(command.words, call.interpreter.environment if environment is None else environment)
        message = Command(command.words, call.namespace, variables, call.scope.options.preprocess)
        payload = msgspec.msgpack.encode(message)
        async with aclosing(ask(self._mesh, hosts, SERVICE, payload, self._patience, self._clock)) as arrivals:
            async for arrival in arrivals:
                group = self._heard(call, arrival)
                if group is not None:
                    yield arrival.host, group

    def _heard(self, call: Call[S], arrival: Arrival) -> Group | None:
        """What an arrival is for the user: responses, an error of that node, or nothing."""
        host = arrival.host
        if arrival.ending is Ending.DONE:
            return None
        if arrival.ending is not None:
            text = f"{arrival.error}\nhint: {arrival.hint}" if arrival.hint else arrival.error
            return [Response(host, error=text or arrival.ending.value)]
        try:
            part = wire.decode_part(arrival.payload, host)
        except msgspec.MsgspecError as error:
            return [Response(host, error=f'the answer of "{host}" is unreadable: {error}')]
        if part.progress:
            call.status(f"{host}: {part.progress}")
        return part.group


def _variables(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that words speak of, as far as they are set."""
    names = {found[1] or found[2] for word in words for found in _VARIABLE.finditer(word)}
    return {name: environment[name] for name in sorted(names) if name in environment}


def _aligned(batch: Sequence[_Said]) -> Iterator[Group]:
    """Groups over hosts: the first of every host together, then the second, and so on; hosts in order."""
    by_host: dict[str, list[Group]] = {}
    for host, group in batch:
        by_host.setdefault(host, []).append(group)
    for number in range(max(len(groups) for groups in by_host.values())):
        hosts = sorted((host for host in by_host if number < len(by_host[host])), key=by_number)
        yield [response for host in hosts for response in by_host[host][number]]


def serve(mesh: Mesh, interpreter: Interpreter[S], supervisor: Supervisor, clock: StampClock | None = None) -> None:
    """Run commands of other nodes from now on."""
    decoder = msgspec.msgpack.Decoder(Command)

    def answer(caller: Caller, payload: bytes) -> Parts:
        try:
            command = decoder.decode(payload)
        except msgspec.MsgspecError as error:
            text = f'"{mesh.name}" does not understand the command'
            raise InvalidInput(text, hint="are all nodes of one version?") from error
        limits = limits_of(caller)
        limits.check_namespace(command.namespace)
        invocation = interpreter.recognise(command.words)
        refuse_nested(invocation)

        async def work(voice: Voice) -> None:
            def status(text: str) -> None:
                voice.whisper(wire.encode(Part(progress=text)))

            session = Session(command.namespace, "mesh", status, limits, command.variables)
            call = interpreter.call(invocation.text, session)
            call.scope.options = call.scope.options.put("preprocess", command.preprocess)
            async for group in interpreter.run(call, invocation):
                await voice.say(wire.encode(Part(group)))

        return working(supervisor, f"command of {caller.name}", work, clock)

    mesh.serve(SERVICE, answer)
