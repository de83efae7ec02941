"""Scripts: `read FILE` runs command lines from a file. Source: spec B.10, D.23.

A line that does not compile ends the script; a command that fails is reported and the script goes on, unless it is
told to stop on errors. Every error names the file and the line.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from megatools.hostkit.errors import InvalidInput, InvalidState, NotFound, Unavailable, user_text
from megatools.minimega.lang.answer import Group, Response
from megatools.minimega.lang.call import Call, Invocation, Session
from megatools.minimega.lang.options import Scope

S = TypeVar("S")
MAX_LINE_BYTES = 1 << 20
MAX_FILE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One line, and where it stands: `<basename>:<line>`."""

    where: str
    text: str


async def script_lines(path: Path) -> list[ScriptLine]:
    """The lines of a script; raises `NotFound`, `Unavailable`, `InvalidInput`."""
    data = await asyncio.to_thread(_content, path)
    return list(_split(data, path.name))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"script '{path}' does not exist", hint="give the path of a file on this host") from None
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot read script '{path}'") from error
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"script '{path}' is longer than the limit of {MAX_FILE_BYTES} bytes")
    return data


def _split(data: bytes, name: str) -> Iterator[ScriptLine]:
    for number, raw in enumerate(data.split(b"\n"), start=1):
        where = f"{name}:{number}"
        if len(raw) > MAX_LINE_BYTES:
            raise InvalidInput(f"{where} line has {len(raw)} bytes, the limit is {MAX_LINE_BYTES}")
        try:
            yield ScriptLine(where, raw.decode().strip())
        except UnicodeDecodeError:
            raise InvalidInput(f"{where} line is not UTF-8 text") from None


def refuse_nested(call: Call[S]) -> None:
    """Raises `InvalidState` inside a script."""
    if call.session.source == "script":
        raise InvalidState("cannot run nested `read` commands")


def check_script(call: Call[S], lines: list[ScriptLine]) -> None:
    """Raises `InvalidInput` with every line that does not compile."""
    problems: list[str] = []
    for line in lines:
        try:
            _compile(call, line)
        except InvalidInput as error:
            problems.append(user_text(error))
    if problems:
        raise InvalidInput("\n".join(problems))


def _compile(call: Call[S], line: ScriptLine) -> Invocation | None:
    """The command of a line; raises `InvalidInput` that names the line."""
    try:
        invocation = call.interpreter.compile(line.text)
    except InvalidInput as error:
        raise InvalidInput(f"{line.where} {error.message}", hint=error.hint) from None
    inner = invocation
    while inner is not None:
        if inner.pattern.startswith("read "):
            raise InvalidInput(f"{line.where} cannot run nested `read` commands")
        inner = inner.nested
    return invocation


async def run_script(call: Call[S], lines: list[ScriptLine], *, stop_on_error: bool) -> AsyncIterator[Group]:
    """Run the lines one after another in a session of their own; raises `InvalidInput` at one that does not compile."""
    session = Session(call.namespace, "script", call.session.status)
    base = call.scope.options
    overrides = base.differences(call.interpreter.options)
    for line in lines:
        invocation = _compile(call, line)
        if invocation is None:
            if line.text:
                call.interpreter.history.record(line.text)
            continue
        scope = Scope(dataclasses.replace(call.interpreter.options, **overrides))
        inner = Call(call.services, session.namespace, session, line.text, call.interpreter, call.host, scope)
        failed = False
        async for group in call.interpreter.perform(inner, invocation):
            failed = failed or any(response.error for response in group)
            call.scope.options = scope.options  # rendering looks there while this group is shown
            yield [_located(response, line.where) for response in group]
            call.scope.options = base
        if failed and stop_on_error:
            return


def _located(response: Response, where: str) -> Response:
    if not response.error:
        return response
    return msgspec.structs.replace(response, error=f"{where} {response.error}")
