"""`minimega cluster ...` from the shell: through the running daemon if there is one, else on the files alone.

Called by `app/main`. Without a daemon a host can found, join, leave and look; the next start of the daemon uses what is
there. To invite and to revoke takes a running mesh.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

import msgspec

from megatools.hostkit import facts
from megatools.hostkit.errors import InvalidInput, MegaError, Unavailable, user_text
from megatools.hostkit.table import layout
from megatools.minimega.app import client
from megatools.minimega.app.flags import Flags
from megatools.minimega.app.settings import Settings, from_flags
from megatools.minimega.cluster.enrolling import founded_text, joined_text
from megatools.minimega.cluster.roll import NodeRow, Roll, StatusRow
from megatools.minimega.lang.answer import rows_table
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.issuing import found_cluster
from megatools.minimega.mesh.joining import join

_STDIN = "-"


def run(flags: Flags) -> int:
    """Do what the words after `cluster` say; returns the exit status."""
    words = _with_token(flags.words)
    try:
        connection = client.Connection(client.socket_path(flags))
    except client.DaemonError as error:
        if isinstance(error.__cause__, PermissionError):
            client.complain(str(error))
            return client.NO_DAEMON
        return _alone(flags, words)
    try:
        with connection:
            return client.converse(connection, f".annotate false {client.command_line(words, '')}")
    except client.DaemonError as error:
        client.complain(str(error))
        return client.NO_DAEMON


def _alone(flags: Flags, words: Sequence[str]) -> int:
    """Without a daemon."""
    try:
        settings = from_flags(flags).settings
        store = CredentialStore(settings.cluster_dir, facts.host_name())
        text = asyncio.run(_act(settings, store, words[1:]))
    except MegaError as error:
        client.complain(user_text(error))
        return error.exit_code
    if text:
        print(text)
    return client.OK


async def _act(settings: Settings, store: CredentialStore, words: Sequence[str]) -> str:
    address = settings.own_address()
    addresses = (address,) if address else ()
    match words:
        case []:
            return _shown(StatusRow, [Roll(store, None).status("off", ["no daemon is running"])])
        case ["list"]:
            return _shown(NodeRow, Roll(store, None).rows(()))
        case ["init", *name] if len(name) < 2:
            with store.lock():
                found_cluster(store, "".join(name), addresses)
            return founded_text(store)
        case ["join", host, token]:
            await join(store, host, token, addresses)
            return joined_text(store)
        case ["leave"]:
            with store.lock():
                store.forget()
            return ""
        case ["invite" | "revoke", *_]:
            raise Unavailable(f"`cluster {words[0]}` takes a running daemon", hint="start minimega first")
        case _:
            raise InvalidInput(
                f"without a daemon there is no `cluster {' '.join(words)}`",
                hint="cluster, cluster list, cluster init [name], cluster join <host> <token>, cluster leave",
            )


def _shown(kind: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> str:
    table = rows_table(kind, rows)
    return layout([table.header, *table.rows])


def _with_token(words: tuple[str, ...]) -> tuple[str, ...]:
    """The words, with the token read from standard input where it says `-`: arguments can be seen by others."""
    if words[1:2] == ("join",) and words[3:] == (_STDIN,):
        return (*words[:3], sys.stdin.readline().strip())
    return words
