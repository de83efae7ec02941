"""A small language for the tests: a few commands over a real registry and interpreter."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from megatools.hostkit.errors import InvalidState
from megatools.minimega.lang.answer import Answer, Group, Response, Table
from megatools.minimega.lang.builtins import builtins
from megatools.minimega.lang.call import Call, Invocation, Reply, Session, Source
from megatools.minimega.lang.interpreter import Interpreter, Output
from megatools.minimega.lang.registry import Family, Registry

ROWS = (("10", "web", "RUNNING"), ("9", "db", "PAUSED"))
Log = list[str]
family: Family[Log] = Family("test", "Test commands")


@family.command("vm info [summary,]")
async def vm_info(call: Call[Log], summary: bool) -> Reply:
    """List virtual machines.

    All of them."""
    return Table(("id", "name") if summary else ("id", "name", "state"), tuple(r[:2] if summary else r for r in ROWS))


@family.command("vm start <vm target>", suggest={"vm": "vm"})
async def vm_start(call: Call[Log], vm: str) -> Reply:
    """Start virtual machines."""
    call.status(f"starting {vm}")
    call.services.append(f"start {vm} in {call.namespace}")
    if vm == "broken":
        raise InvalidState("vm 'broken' is broken", hint="mend it")
    if vm == "bug":
        raise KeyError("surprise")
    return None


@family.command("vm config memory [value]", "vm config append [value]...", preprocess=False)
async def vm_config(call: Call[Log], **arguments: object) -> Reply:
    """Configure virtual machines."""
    return str(arguments)


@family.command("namespace [name]", "namespace <name> (command)")
async def namespace(call: Call[Log], name: str | None = None, command: Invocation | None = None) -> Reply:
    """Choose a namespace."""
    if command is not None and name is not None:
        return call.run(command, namespace=name)
    if name is None:
        return call.namespace
    call.session.namespace = name
    return None


@family.command("everywhere")
async def everywhere(call: Call[Log]) -> AsyncIterator[Group]:
    """Answer in two groups from two hosts."""
    yield [Response("kn1", "here"), Response("kn2", "here")]
    yield [Response("kn1", "done"), Response("kn2", error="lost")]


@family.command("old <name>")
async def old(call: Call[Log], name: str) -> AsyncIterator[Group]:
    """Start a machine by another name."""
    async for group in call.run_line(f"vm start {name}"):
        yield group


@family.command("data")
async def data(call: Call[Log]) -> Reply:
    """Answer with an Answer."""
    return Answer("text")


class Language:
    """An interpreter over the test commands, and what it said."""

    def __init__(self, files: Path = Path("/nonexistent"), source: Source = "socket") -> None:
        self.log: Log = []
        self.progress: list[str] = []
        self.environment = {"HOME": "/root", "NAME": "web"}
        self.interpreter: Interpreter[Log] = Interpreter(
            Registry([builtins(), family]),
            self.log,
            host="kn1",
            files=files,
            suggesters={"vm": lambda _call, _prefix: ["web", "db", "all", "two words"]},
            environment=self.environment,
        )
        self.session = Session(source=source, status=self.progress.append)

    def outputs(self, line: str) -> list[Output]:
        """Everything one line answers."""

        async def run() -> list[Output]:
            return [output async for output in self.interpreter.execute(line, self.session)]

        return asyncio.run(run())

    def text(self, line: str) -> str:
        """What people see."""
        return "\n".join(output.rendered for output in self.outputs(line))

    def errors(self, line: str) -> list[str]:
        """The errors in the answers."""
        return [response.error for output in self.outputs(line) for response in output.group or () if response.error]

    def suggest(self, line: str) -> list[str]:
        """Completions."""
        return asyncio.run(self.interpreter.suggest(line, self.session))

    @property
    def history(self) -> list[str]:
        """The lines recorded."""
        return list(self.interpreter.history.lines())
