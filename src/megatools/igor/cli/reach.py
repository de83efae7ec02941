"""How this run of igor reaches the store: over HTTPS if told so, directly where it may write it, else the service."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from megatools.hostkit.errors import PermissionDenied
from megatools.igor.api.doors import Door
from megatools.igor.model.config import DEFAULT_PATH, Config, load


def configuration(path: str | None) -> tuple[Config, Path]:
    """The configuration a run uses, and where it came from; raises as `model.config.load`."""
    place = Path(path) if path else DEFAULT_PATH
    return load(place), place


def door(config: Config) -> Door:
    """A door for whoever runs this process; raises PermissionDenied when there is none."""
    if os.environ.get("IGOR_URL"):
        from megatools.igor.api.remote import door_from

        return door_from(os.environ)
    from megatools.igor.api.direct import may_write, open_door

    if may_write(config):
        return open_door(config)
    from megatools.igor.api.client import SocketDoor

    if Path(config.socket).exists():
        return SocketDoor(config.socket)
    raise PermissionDenied(
        f'you may not write igor\'s store in "{config.state}", and no service answers at "{config.socket}"',
        hint="sudo igor setup -service installs one, sudo igor serve runs one",
    )


def setuid_warning(program: str) -> str:
    """What to say about a setuid bit on igor's launcher; empty when there is none.

    The launcher is a script: the kernel gives the bit no effect there, and igor acts for its real caller.
    """
    for name in {program, os.environ.get("IGOR_LAUNCHER", ""), "/usr/local/bin/igor"}:
        try:
            mode = os.stat(name).st_mode if name else 0
        except OSError:
            continue
        if mode & (stat.S_ISUID | stat.S_ISGID):
            return (
                f'igor: the setuid bit of "{name}" has no effect and is not needed\n'
                f"hint: chmod ug-s {name}; sudo igor setup -service lets all users reserve, with their own rights"
            )
    return ""


def warn(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr)
