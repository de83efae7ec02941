"""The commands of the language itself: modifiers, filters, aliases, variables, help, history and scripts.

`builtins()` makes the family; app registers it with the others. Source: spec B.3-B.8, B.10.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from megatools.hostkit.errors import NotFound, Unavailable
from megatools.hostkit.files import write_atomically
from megatools.minimega.lang.answer import Group, Table
from megatools.minimega.lang.call import Call, Invocation, Reply
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.quote import join_words
from megatools.minimega.lang.registry import Family
from megatools.minimega.lang.rows import choose_columns, filter_group, parse_filter
from megatools.minimega.lang.script import check_script, refuse_nested, run_script, script_lines

S = TypeVar("S")

_MODIFIERS = {
    "annotate": "Prefix output with the host it comes from",
    "headers": "Print the header row of tables",
    "sort": "Sort the rows of tables",
    "compress": "Merge identical answers of several hosts",
    "csv": "Print tables as comma separated values",
    "json": "Print answers as JSON",
    "record": "Record commands in the history",
    "preprocess": "Expand $VAR and file prefixes in arguments",
}
_MODIFIER_HELP = """\
Without an argument, prints the current value. With `true` or `false`, sets it for all commands that follow. With a
command after the value, applies to that command only:

    {example}

The default is {default}."""


def builtins() -> Family[S]:  # pyright: ignore[reportInvalidTypeVarUse] the caller's annotation decides
    """The language's own commands, for any services."""
    family: Family[S] = Family("builtin", "The command language")
    for name, short in _MODIFIERS.items():
        default = "false" if name in ("csv", "json") else "true"
        family.add(
            (f".{name} [true,false]", f".{name} <true,false> (command)"),
            _modifier(name),
            short,
            _MODIFIER_HELP.format(
                example=f".{name} {'true' if default == 'false' else 'false'} vm info", default=default
            ),
            effect={f".{name} <true,false> (command)": Effect.NONE},
        )
    _add_rows(family)
    _add_names(family)
    _add_history(family)
    return family


def _add_rows(family: Family[S]) -> None:
    family.command(".filter <filter> (command)", effect=Effect.NONE)(_filter)
    family.command(".columns <columns> (command)", effect=Effect.NONE)(_columns)


def _add_names(family: Family[S]) -> None:
    family.command(".alias [alias as name=expansion]...", preprocess=False)(_alias)
    family.command(".unalias <name>")(_unalias)
    family.command(".env", ".env <name> [value]")(_environment)
    family.command("help [command]...", record=False, effect=Effect.NONE)(_help)
    family.command("echo [words]...", effect=Effect.NONE)(_echo)


def _add_history(family: Family[S]) -> None:
    family.command("history", record=False)(_history)
    family.command("clear history", record=False)(_clear_history)
    family.command("write <file>", record=False)(_write)
    family.command("read <file> [check,stop-on-error]", record=False)(_read)


def _modifier(name: str) -> Callable[..., Awaitable[Reply]]:
    async def modify(
        call: Call[S], true: bool = False, false: bool = False, command: Invocation | None = None
    ) -> Reply:
        if command is not None:
            call.scope.options = call.scope.options.put(name, true)
            return call.run(command)
        if not true and not false:
            return "true" if call.interpreter.options.get(name) else "false"
        call.interpreter.options = call.interpreter.options.put(name, true)
        call.scope.options = call.scope.options.put(name, true)
        return None

    return modify


async def _filter(call: Call[S], filter: str, command: Invocation) -> AsyncIterator[Group]:
    """Show only the rows of a table that match.

    A filter is `column=value`, `column!=value`, `column~text` (contains) or `column!~text`. Letter case does not
    matter, column names may be abbreviated, and cells that hold a list are matched by what they contain. The column
    `host` stands for the responding host. Filters nest:

        .filter state=running .filter name~web vm info
    """
    condition = parse_filter(filter)
    async for group in call.run(command):
        yield filter_group(group, condition)


async def _columns(call: Call[S], columns: str, command: Invocation) -> AsyncIterator[Group]:
    """Show only some columns of a table, in the order given.

    Column names may be abbreviated, in any letter case. A filter on a column must stand inside, where the column
    still exists:

        .columns id,name .filter state=running vm info
    """
    names = columns.split(",")
    async for group in call.run(command):
        yield choose_columns(group, names)


async def _alias(call: Call[S], alias: tuple[str, ...]) -> Reply:
    """Define an alias, or list them.

    The first word of a line that is an alias is replaced by its expansion, once; scripts are not touched:

        .alias vmr=.filter state=running vm info
    """
    if not alias:
        return Table(("alias", "expansion"), call.interpreter.aliases.rows())
    first, *rest = alias
    call.interpreter.aliases.define(f"{first} {join_words(rest)}")
    return None


async def _unalias(call: Call[S], name: str) -> Reply:
    """Forget an alias."""
    call.interpreter.aliases.forget(name)
    return None


async def _environment(call: Call[S], name: str | None = None, value: str | None = None) -> Reply:
    """List, print or set the variables that `$NAME` stands for.

    Setting a variable to the empty text "" removes it.
    """
    environment = call.interpreter.environment
    if name is None:
        return Table(("key", "value"), tuple(sorted(environment.items())))
    if value is None:
        return environment.get(name, "")
    if value:
        environment[name] = value
    else:
        environment.pop(name, None)
    return None


async def _help(call: Call[S], command: tuple[str, ...]) -> Reply:
    """Display help on a command.

    Without an argument, lists all commands; with the beginning of some, shows those.
    """
    return call.interpreter.help(command)


async def _echo(call: Call[S], words: tuple[str, ...]) -> Reply:
    """Print the words after expansion, without a comment."""
    return " ".join(words)


async def _history(call: Call[S]) -> Reply:
    """Print the commands recorded so far."""
    return call.interpreter.history.text()


async def _clear_history(call: Call[S]) -> Reply:
    """Forget the commands recorded so far."""
    call.interpreter.history.clear()
    return None


async def _write(call: Call[S], file: str) -> Reply:
    """Write the commands recorded so far to a file, which `read` can run."""
    path = Path(file)
    if not path.parent.is_dir():
        raise NotFound(f"directory '{path.parent}' does not exist", hint="make it first, or name another file")
    if path.is_dir():
        raise Unavailable(f"cannot write '{path}', it is a directory", hint="name a file")
    await asyncio.to_thread(write_atomically, path, call.interpreter.history.text(), 0o644)
    return None


async def _read(call: Call[S], file: str, check: bool = False, stop_on_error: bool = False) -> AsyncIterator[Group]:
    """Run the commands in a file.

    A line that is not a command ends the script; with `check`, all lines are checked and nothing runs. A command that
    fails is reported with its line and the script goes on, unless `stop-on-error` is given. A line `namespace X` holds
    for the lines after it. Scripts do not nest.
    """
    refuse_nested(call)
    lines = await script_lines(Path(file))
    if check:
        check_script(call, lines)
        return
    async for group in run_script(call, lines, stop_on_error=stop_on_error):
        yield group
