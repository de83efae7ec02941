"""Run programs on other machines over ssh(1), never asking anybody anything. Anyone may call it.

The user's own configuration, agent and known hosts count. What is run goes through a shell over there: words are
quoted here, scripts come on standard input. Source: ssh(1), ssh_config(5), OpenSSH 9.2.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from megatools.hostkit import proc
from megatools.hostkit.errors import CommandFailed, InvalidInput, Unavailable

_CONNECT_S = 10
_OWN_STATUS = 255  # ssh's, when it is ssh that failed
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._:-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\]")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Login:
    """Whom to reach as whom; an empty user is ssh's choice. `sudo` runs everything as root over there."""

    host: str
    user: str = ""
    sudo: bool = False


def argv(login: Login, words: Sequence[str]) -> list[str]:
    """The command line that runs words over there. Raises InvalidInput for a host or user that is none."""
    if not _HOST.fullmatch(login.host):
        raise InvalidInput(f'"{login.host}" is no host name', hint="letters, digits, dots and hyphens")
    if login.user and not _USER.fullmatch(login.user):
        raise InvalidInput(f'"{login.user}" is no user name')
    options = ["BatchMode=yes", f"ConnectTimeout={_CONNECT_S}", "ServerAliveInterval=10", "ServerAliveCountMax=3"]
    line = ["ssh", "-T", *(word for option in options for word in ("-o", option))]
    if login.user:
        line += ["-l", login.user]
    there = ["sudo", "--non-interactive", "--", *words] if login.sudo else list(words)
    return [*line, "--", login.host, shlex.join(there)]


async def run(login: Login, words: Sequence[str], *, stdin: bytes = b"", timeout_s: float) -> str:
    """Run a program over there and return what it prints.

    Raises Unavailable (no connection, too slow), CommandFailed (it failed; its last words).
    """
    done = await proc.run(argv(login, words), timeout_s=timeout_s, check=False, stdin=stdin)
    if done.status == 0:
        return done.text
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.status == _OWN_STATUS:
        raise Unavailable(
            f'cannot reach "{login.host}": {said[-1] if said else "ssh said nothing"}',
            hint=f"`ssh {login.host} true` must work without a question",
        )
    last = "\n".join(said[-8:]) or done.text.strip()
    raise CommandFailed(f'"{words[0]}" on "{login.host}" ended with {done.status}: {last}')
