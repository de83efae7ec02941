"""Programs on the host: `shell` and `background`."""

from __future__ import annotations

from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Groups
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family
from megatools.minimega.pipes.programs import ForgetPrograms, ListPrograms, ReadProgram, RunProgram, StartProgram

family: Family[Services] = Family("shell", "Programs on the host")


@family.command("shell <command>...", effect=Effect.NONE)
async def shell(call: Cmd, command: tuple[str, ...]) -> Groups:
    """Run a program and wait for it

    The words are passed as they are, without a shell in between; use `shell sh -c "..."` for one. What the program
    writes is the answer; a status other than 0 is an error that carries both streams.
    """
    return await run(call, RunProgram(command))


@family.command("background <command>...", effect=Effect.NONE)
async def background(call: Cmd, command: tuple[str, ...]) -> Groups:
    """Start a program and go on

    Its id is answered; `background-status` tells how it does.
    """
    return await run(call, StartProgram(command))


@family.command("background-status [id]", effect=Effect.NONE)
async def background_status(call: Cmd, id: str | None = None) -> Groups:
    """List background programs

    Columns: id, pid, whether it runs, how it failed, start, end and command. The newest 50 finished ones are kept.
    """
    return await run(call, ListPrograms(id or ""))


@family.command("background-output <id>", effect=Effect.NONE)
async def background_output(call: Cmd, id: str) -> Groups:
    """Show what a finished background program wrote"""
    return await run(call, ReadProgram(id, "output"))


@family.command("background-error <id>", effect=Effect.NONE)
async def background_error(call: Cmd, id: str) -> Groups:
    """Show what a finished background program wrote to its error stream"""
    return await run(call, ReadProgram(id, "error"))


@family.command("clear background-status", effect=Effect.NONE)
async def clear_background_status(call: Cmd) -> Groups:
    """Forget finished background programs"""
    return await run(call, ForgetPrograms())
