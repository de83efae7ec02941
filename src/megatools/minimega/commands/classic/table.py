"""The classic words: how a row of a table becomes a command.

The words of 2013 (`vm_launch`, `host_tap`) are a translation layer: a `Row` says which modern line a classic one
means; a `Special` runs a few modern lines and lays out their answers the classic way; a `Later` word is known and not
available yet. Classic words are typed in full, and their answers carry no host. One file per family of words, each
offering `family`. Source: spec A.0 to A.3.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from megatools.hostkit.errors import CommandFailed, InvalidInput, Unavailable
from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.answer import Group, Response, Table
from megatools.minimega.lang.call import Argument
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.match import InvalidCommand
from megatools.minimega.lang.quote import quote
from megatools.minimega.lang.registry import Family

Arguments: TypeAlias = Mapping[str, Argument]
Handler: TypeAlias = Callable[..., AsyncIterator[Group]]
_PLACE = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True)
class Row:
    """A classic pattern, the modern line it means, and its help.

    In a text `{key}` stands for the argument of that key, quoted; a function gets the arguments and returns the line
    (empty: do nothing), raising InvalidInput for what no line can mean. `exact` is false where a row stands beside
    modern patterns of the same words.
    """

    pattern: str
    to: str | Callable[[Arguments], str]
    help: str
    exact: bool = True


@dataclass(frozen=True)
class Special:
    """A classic pattern, the function that runs it, and its help; a Table is shown without a host column.

    `effect` is what the function does besides running modern lines.
    """

    pattern: str
    run: Callable[[Cmd, Arguments], AsyncIterator[str | Table | Group]]
    help: str
    effect: Effect = Effect.NONE


@dataclass(frozen=True)
class Later:
    """A word this version knows and cannot do yet: a whole command, with anything after it.

    `exact` is false for the modern words, which may be abbreviated.
    """

    name: str
    exact: bool = True


def word(arguments: Arguments, key: str) -> str:
    """A string argument, or an empty text when it was not given."""
    value = arguments.get(key)
    return value if isinstance(value, str) else ""


def words(arguments: Arguments, key: str) -> tuple[str, ...]:
    """A list argument, or nothing when it was not given."""
    value = arguments.get(key)
    return value if isinstance(value, tuple) else ()


def target(text: str) -> str:
    """Which VM or tap is meant: -1 and nothing at all mean all of them."""
    return "all" if text in ("", "-1") else text


def fill(template: str, arguments: Arguments) -> str:
    """The modern line of a template, its places filled with quoted arguments."""

    def value(match: re.Match[str]) -> str:
        given = arguments.get(match[1])
        if isinstance(given, tuple):
            return " ".join(quote(item) for item in given)
        return quote(given) if isinstance(given, str) else ""

    return _PLACE.sub(value, template).strip()


async def answers(call: Cmd, line: str) -> Group:
    """All responses of a modern line; raises CommandFailed with the errors there were."""
    responses = [response async for group in call.run_line(line) for response in group]
    errors = [response.error for response in responses if response.error]
    if errors:
        raise CommandFailed("\n".join(errors))
    return responses


def cells(group: Group) -> list[dict[str, str]]:
    """The rows of tables as records by column name, each with its `host`."""
    return [
        {"host": response.host} | dict(zip(response.header or (), row, strict=True))
        for response in group
        for row in response.tabular or ()
    ]


def text(group: Group) -> str:
    """The plain texts of responses, one below the other."""
    return "\n".join(response.response for response in group if response.response)


def make_family(name: str, title: str, rows: tuple[Row | Special | Later, ...]) -> Family[Services]:
    """The command family of a table."""
    family: Family[Services] = Family(name, title)
    for row in rows:
        match row:
            case Row():
                to = f"The same as `{row.to}`." if isinstance(row.to, str) else ""
                family.add(
                    (row.pattern,),
                    _translate(row),
                    row.help,
                    to,
                    exact=row.exact,
                    preprocess=False,
                    effect=Effect.NONE,
                )
            case Special():
                family.add((row.pattern,), _special(row.run), row.help, exact=True, preprocess=False, effect=row.effect)
            case Later():
                patterns = (f"{row.name} [words]...",)
                family.add(patterns, _later(row.name), "not available yet", exact=row.exact, preprocess=False)
    return family


def _bare(call: Cmd) -> None:
    """Classic answers name no host unless they say so themselves."""
    call.scope.options = call.scope.options.put("annotate", False)


def _translate(row: Row) -> Handler:
    async def handler(call: Cmd, **arguments: Argument) -> AsyncIterator[Group]:
        _bare(call)
        line = fill(row.to, arguments) if isinstance(row.to, str) else row.to(arguments)
        if not line:
            return
        try:
            async for group in call.run_line(line):
                yield group
        except InvalidCommand:  # it speaks of a line that nobody typed
            raise malformed(f"{row.pattern} : {row.help}") from None

    return handler


def _special(run: Callable[[Cmd, Arguments], AsyncIterator[str | Table | Group]]) -> Handler:
    async def handler(call: Cmd, **arguments: Argument) -> AsyncIterator[Group]:
        _bare(call)
        async for reply in run(call, arguments):
            match reply:
                case str():
                    yield [Response(call.host, reply)]
                case Table():
                    yield [Response(call.host, header=list(reply.header), tabular=[list(row) for row in reply.rows])]
                case _:
                    yield reply

    return handler


def _later(name: str) -> Callable[..., Awaitable[None]]:
    async def handler(_call: Cmd, **_arguments: Argument) -> None:
        raise Unavailable(f'not available yet: "{name}"')

    return handler


def malformed(usage: str) -> InvalidInput:
    """The error for arguments of a shape the command does not have."""
    return InvalidInput("malformed command", hint=f"usage: {usage}")
