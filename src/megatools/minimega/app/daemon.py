"""The life of a daemon: hold the base directory, adopt what runs, serve, and end as it was told.

    hold lock -> read journal -> adopt -> socket -> scripts -> prompt or wait -> Ending -> release

Called by `main` only; what the daemon is made of stands in `parts`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence

from megatools.hostkit.errors import MegaError, chain_text, hint_of
from megatools.hostkit.logcontrol import LogControl
from megatools.hostkit.priority import answer_first
from megatools.hostkit.settings import Loaded, show
from megatools.minimega.app.ending import EndControl, Ending
from megatools.minimega.app.home import Home
from megatools.minimega.app.parts import Parts, open_parts
from megatools.minimega.app.prompt import Prompt, PromptEnd
from megatools.minimega.app.settings import Settings
from megatools.minimega.cluster.control import OPEN, OPEN_MARK, OPEN_WARNING
from megatools.minimega.lang import server as command_socket
from megatools.minimega.lang.quote import join_words
from megatools.minimega.mesh.engine_process import Started

_log = logging.getLogger(__name__)


def run(loaded: Loaded[Settings], prepared: Started | None, scripts: Sequence[str]) -> int:
    """Be the daemon; returns the exit status once it has ended. Raises MegaError when it cannot start."""
    gc.freeze()  # what is loaded by now stays: the collector need not look at it again and again
    return asyncio.run(_serve(loaded, prepared, scripts))


async def _serve(loaded: Loaded[Settings], prepared: Started | None, scripts: Sequence[str]) -> int:
    settings = loaded.settings
    settings.vlan_range()  # a bad one is refused before anything is touched
    if os.geteuid() != 0:
        print("minimega: not running as root; bridges and taps will be refused", file=sys.stderr)
    logs = LogControl(level=settings.level, stderr=settings.verbose, file=settings.logfile)
    home = Home(settings.base, settings.files)
    home.hold()
    answer_first()
    control = EndControl(_texts(loaded))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, control.ask, Ending.TEAR_DOWN)
    loop.add_signal_handler(signal.SIGTERM, control.ask, Ending.LEAVE)
    async with open_parts(settings, home, control, logs, prepared) as parts:
        return await _live(parts, settings, home, control, scripts)


async def _live(parts: Parts, settings: Settings, home: Home, control: EndControl, scripts: Sequence[str]) -> int:
    await parts.recover()
    socket = await command_socket.serve(home.socket, parts.interpreter, namespace=parts.active)
    parts.supervisor.start("standard input", _talk(parts, settings, control, scripts))
    ending = await control.asked()
    status = await _end(parts, home, ending, control)
    await socket.close()
    if ending is not Ending.LEAVE:
        home.vanish()
    return status


async def _talk(parts: Parts, settings: Settings, control: EndControl, scripts: Sequence[str]) -> None:
    """Run the scripts, then the prompt; ^D on a terminal ends the daemon, an end of input elsewhere does not."""
    is_open = parts.mesh.status().security == OPEN
    if is_open:
        print(f"minimega: the mesh is open: {OPEN_WARNING}", file=sys.stderr)
    prompt = Prompt(parts.interpreter, parts.active.name, OPEN_MARK if is_open else "")
    for script in scripts:
        await prompt.execute(f"read {join_words([os.path.abspath(script)])}")
    if settings.nostdin:
        return
    if sys.stdin.isatty():
        print('minimega; "help" lists the commands, ^D or "quit" ends it and its VMs')
    if await prompt.run() is PromptEnd.LEFT:
        control.ask(Ending.TEAR_DOWN)


async def _end(parts: Parts, home: Home, ending: Ending, control: EndControl) -> int:
    """Let go of everything as asked; what could not be removed is said, and the exit status is 1."""
    failed: MegaError | None = None
    try:
        await parts.release(remove=ending is not Ending.LEAVE)
    except MegaError as error:
        failed = error
        _log.error("tearing down: %s %s", chain_text(error), hint_of(error))
    match ending:
        case Ending.LEAVE:
            home.leave()
        case Ending.TEAR_DOWN:
            home.clear(keep_journal=failed is not None or parts.has_saved)
        case Ending.NUKE | Ending.NUKE_ALL:
            home.wipe(everything=ending is Ending.NUKE_ALL)
    control.finished(failed)
    return 0 if failed is None else 1


def _texts(loaded: Loaded[Settings]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for line in show(loaded).splitlines():
        name, _, rest = line.partition(" = ")
        texts[name] = rest.rpartition("  (")[0].rstrip()
    return texts
