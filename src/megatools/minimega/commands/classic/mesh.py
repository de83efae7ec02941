"""Classic words for the mesh: `mesh_set`, `mesh_broadcast`, `mesh_status` and their kin (spec A.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.units import format_duration
from megatools.minimega.commands.classic.table import Arguments, Row, Special, make_family, malformed, word, words
from megatools.minimega.commands.services import Cmd
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.options import Options
from megatools.minimega.lang.quote import join_words
from megatools.minimega.lang.render import render

_TRAVERSALS = ("unordered", "depth", "breadth")
_SET = "mesh_set [annotate] <hosts> [unordered|depth|breadth] <command...>"
_BROADCAST = "mesh_broadcast [annotate] <command...>"
_CLEARED_MSA_S = 60
_PLAIN = Options(annotate=False, compress=False)


async def _set(call: Cmd, arguments: Arguments) -> AsyncIterator[Group]:
    typed = list(words(arguments, "words"))
    annotate = _taken(typed, "annotate")
    if len(typed) < 2:
        raise malformed(_SET)
    hosts = typed.pop(0)
    _taken(typed, *_TRAVERSALS)
    async for group in _sent(call, hosts, typed, _SET, annotate=annotate):
        yield group


async def _broadcast(call: Cmd, arguments: Arguments) -> AsyncIterator[Group]:
    typed = list(words(arguments, "words"))
    annotate = _taken(typed, "annotate")
    async for group in _sent(call, "all", typed, _BROADCAST, annotate=annotate):
        yield group


def _taken(typed: list[str], *possible: str) -> bool:
    """Whether the first word is one of these; it is taken off then."""
    if typed and typed[0] in possible:
        typed.pop(0)
        return True
    return False


async def _sent(call: Cmd, hosts: str, typed: list[str], usage: str, *, annotate: bool) -> AsyncIterator[Group]:
    """The answers of hosts one below the other, with `[host]` in front when annotated; errors name their host."""
    command = call.interpreter.compile(join_words(typed))
    if command is None:
        raise malformed(usage)
    call.scope.options = call.scope.options.put("compress", False)
    async for group in await call.services.mesh.sender.send(call, hosts, command):
        yield [_prefixed(response) for response in group] if annotate else group


def _prefixed(response: Response) -> Response:
    """A response as text, its host in front."""
    text = render([response], _PLAIN)
    if response.error or not text:
        return response
    return Response(response.host, f"[{response.host}] {text}", data=response.data)


async def _status(call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    row = await call.services.mesh.status()
    yield f"mesh size {row.size}\ndegree {row.degree}\nclients connected to this node: {row.peers}"


async def _timeout(call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    yield format_duration(call.services.mesh.patience.silence_s)


async def _clear_timeout(call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    patience = call.services.mesh.patience
    patience.silence_s = patience.default_s
    yield ""


async def _msa(call: Cmd, arguments: Arguments) -> AsyncIterator[str]:
    seconds = word(arguments, "seconds")
    mesh = call.services.mesh
    if not seconds:
        yield str(mesh.msa_timeout_s)
        return
    if not seconds.isdecimal() or len(seconds) > 9:
        raise InvalidInput(f'invalid timeout "{seconds}"', hint="a number of seconds; it has no effect any more")
    mesh.msa_timeout_s = int(seconds)
    yield ""


async def _clear_msa(call: Cmd, _arguments: Arguments) -> AsyncIterator[str]:
    call.services.mesh.msa_timeout_s = _CLEARED_MSA_S
    yield ""


ROWS: tuple[Row | Special, ...] = (
    Row("mesh_degree [degree]", "mesh degree {degree}", "print or set how many connections to ask for"),
    Row("clear mesh_degree", "mesh degree 0", "ask for no connections"),
    Row("mesh_dial <host>", "mesh dial {host}", "connect to a host"),
    Row("mesh_hangup <host>", "mesh hangup {host}", "drop the connection to a host"),
    Row("mesh_dot <file>", "mesh dot {file}", "write the mesh to a file for graphviz"),
    Row("mesh_list", "mesh list", "list the hosts of the mesh with their connections"),
    Special("mesh_status", _status, "print the size of the mesh"),
    Special("mesh_timeout", _timeout, "print how long to wait for a host that says nothing"),
    Row("mesh_timeout <seconds>", "mesh timeout {seconds}", "set it, in seconds; 0 is for ever"),
    Special("clear mesh_timeout", _clear_timeout, "set it to its default", Effect.HOST),
    Special(
        "mesh_msa_timeout [seconds]", _msa, "print or set a number of seconds that has no effect any more", Effect.HOST
    ),
    Special("clear mesh_msa_timeout", _clear_msa, "set it to 60", Effect.HOST),
    Special("mesh_set [words]...", _set, f"run a command on other hosts: {_SET}"),
    Special("mesh_broadcast [words]...", _broadcast, f"run a command on all other hosts: {_BROADCAST}"),
)
family = make_family("classic mesh", "Classic words: the mesh", ROWS)
