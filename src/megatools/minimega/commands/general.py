"""The daemon itself: version, check, quit, nuke, and what does not fit a feature."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.units import parse_duration_s
from megatools.minimega.cluster.host_check import CheckHost
from megatools.minimega.cluster.host_facts import HostInfo, HostVersion
from megatools.minimega.commands.services import Cmd, Services, run
from megatools.minimega.lang.answer import Group, Groups, Table
from megatools.minimega.lang.limits import Effect
from megatools.minimega.lang.registry import Family

family: Family[Services] = Family("general", "The daemon itself")

_CLEAR_ALL = (
    "dnsmasq kill all",
    "clear namespace all",
    "clear vlans all",
    "clear background-status",
    "clear log",
    "clear vnc",
    "clear history",
)
_LONGEST_DELAY_S = 7 * 24 * 3600


@family.command("version", effect=Effect.NONE)
async def version(call: Cmd) -> Groups:
    """Show the version of minimega, its revision and its date"""
    return await run(call, HostVersion())


@family.command("check", effect=Effect.NONE)
async def check(call: Cmd) -> Groups:
    """Check the programs this host needs, and say which accelerator VMs run on and why

    What is missing or too old is an error that says how to get it.
    """
    return await run(call, CheckHost())


@family.command("host", "host <field>", effect=Effect.NONE)
async def host(call: Cmd, field: str | None = None) -> Groups:
    """Show what this host has and how much of it is promised to VMs

    Memory is in MB, traffic in MB/s, commitments are sums over all VMs that have a process. `host <field>` prints
    one value; the fields are the columns of the table, and `name`.
    """
    return await run(call, HostInfo(field or ""))


@family.command("hostname", effect=Effect.NONE)
async def hostname(call: Cmd) -> str:
    """Show the name of this host"""
    return call.host


@family.command("debug", effect=Effect.NONE)
async def debug(_call: Cmd) -> Table:
    """Show what the daemon runs on: Python, its tasks and its threads"""
    rows = ((sys.version.split()[0], str(len(asyncio.all_tasks())), str(threading.active_count())),)
    return Table(("pythonversion", "tasks", "threads"), rows)


@family.command("args", effect=Effect.NONE)
async def args(call: Cmd) -> Table:
    """Show the settings this daemon runs with"""
    settings = call.services.daemon.settings_text()
    return Table(tuple(settings), (tuple(settings.values()),))


@family.command("clear all")
async def clear_all(call: Cmd) -> AsyncIterator[Group]:
    """Put everything back as it was when the daemon started

    Kills all VMs and DHCP servers, destroys all namespaces, clears VLAN names, the history and the log settings.
    """
    for line in _CLEAR_ALL:
        async for group in call.run_line(line):
            yield [response for response in group if response.error]


@family.command("quit [delay]", "exit [delay]", record=False)
async def quit_daemon(call: Cmd, delay: str | None = None) -> str | None:
    """Tear down and end minimega

    Kills this run's VMs and DHCP servers and removes its taps, ports, sockets and instance directories. Files, saved
    configurations and bridges that existed before stay. With a delay, in seconds or as `1m30s`, it answers at once.
    """
    if delay is None:
        await call.services.daemon.quit()
        return None
    delay_s = _seconds(delay)
    call.services.daemon.quit_later(delay_s)
    return f"quitting after {delay_s:g} seconds"


@family.command("nuke", "nuke <all,>", record=False)
async def nuke(call: Cmd, *, all: bool = False) -> None:
    """Kill and remove whatever belongs to this base directory, then end

    For a host that an earlier daemon left in disorder. Goes by what was written down of each process and port, never
    by name, and keeps the files directory; `nuke all` removes that too.
    """
    await call.services.daemon.nuke(everything=all)


def _seconds(text: str) -> float:
    seconds = float(text) if text.isdecimal() else parse_duration_s(text)
    if not 0 <= seconds <= _LONGEST_DELAY_S:
        raise InvalidInput(f'delay "{text}" is out of range (0 to {_LONGEST_DELAY_S} seconds)')
    return seconds
