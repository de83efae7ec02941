"""The daemon's log: level and where it goes."""

from __future__ import annotations

from pathlib import Path

from megatools.minimega.commands.services import Cmd, Services
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("log", "The daemon's log")


@family.command("log level", "log level <debug,info,warn,error,fatal>")
async def log_level(
    call: Cmd,
    *,
    debug: bool = False,
    info: bool = False,
    warn: bool = False,
    error: bool = False,
    fatal: bool = False,
) -> str | None:
    """Show or set the log level

    Levels, from most to least: debug, info, warn, error, fatal.
    """
    chosen = {"debug": debug, "info": info, "warn": warn, "error": error, "fatal": fatal}
    for level, on in chosen.items():
        if on:
            call.services.log.set_level(level)
            return None
    return call.services.log.level


@family.command("log stderr [true,false]")
async def log_stderr(call: Cmd, *, true: bool = False, false: bool = False) -> str | None:
    """Show or set whether the log goes to standard error"""
    if true or false:
        call.services.log.set_stderr(true)
        return None
    return "true" if call.services.log.stderr else "false"


@family.command("log file [file]")
async def log_file(call: Cmd, file: str | None = None) -> str | None:
    """Show or set the file the log is appended to"""
    if file is None:
        return str(call.services.log.file or "")
    call.services.log.set_file(Path(file))
    return None


@family.command("clear log", "clear log <level,stderr,file>")
async def clear_log(call: Cmd, *, level: bool = False, stderr: bool = False, file: bool = False) -> None:
    """Go back to how the log was when the daemon started"""
    call.services.log.reset("level" if level else "stderr" if stderr else "file" if file else "")
