"""The command socket: a UNIX socket that many programs speak JSON to (spec B.9); the daemon opens one.

The socket is its owner's alone (mode 0600) from its first moment; whoever may open it may do anything. A lock, not the
socket file, says that a daemon lives: whoever calls `serve` holds it, so a socket file in the way is a leftover.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import stat
from pathlib import Path

from megatools.hostkit.errors import AlreadyExists, InvalidInput, Unavailable
from megatools.hostkit.facts import host_name
from megatools.hostkit.tasks import Supervisor
from megatools.minimega.lang.call import ActiveNamespace
from megatools.minimega.lang.conversation import STALL_S, Commands, Conversation

GRACE_S = 5.0
BACKLOG = 256
MAX_PATH_BYTES = 107  # unix(7): sun_path


class Server:
    """An open command socket. `close` it in the task that opened it."""

    def __init__(self, path: Path, commands: Commands, namespace: ActiveNamespace, *, stall_s: float = STALL_S) -> None:
        self.path = path
        self._commands = commands
        self._namespace = namespace
        self._stall_s = stall_s
        self._host = host_name()
        self._supervisor = Supervisor("command socket")
        self._clients: set[Conversation] = set()
        self._numbers = itertools.count(1)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._listener: asyncio.Server | None = None

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def open(self) -> None:
        """Bind and listen. Raises InvalidInput for a path too long, AlreadyExists, Unavailable."""
        bound = _bind(self.path)
        await self._supervisor.__aenter__()
        self._listener = await asyncio.start_unix_server(self._greet, sock=bound, backlog=BACKLOG)

    async def settle(self, grace_s: float = GRACE_S) -> bool:
        """Take no new clients and let commands under way end; whether they all have within `grace_s` seconds."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self.path.unlink(missing_ok=True)
        try:
            async with asyncio.timeout(grace_s):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Settle, then hang up on everybody; commands that had not ended are cancelled."""
        await self.settle(grace_s)
        await self._supervisor.__aexit__(None, None, None)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._listener is None:
            writer.close()
            return
        conversation = Conversation(
            reader,
            writer,
            self._commands,
            host=self._host,
            namespace=self._namespace.name,
            stall_s=self._stall_s,
        )
        self._clients.add(conversation)
        self._supervisor.start(f"client {next(self._numbers)}", self._talk(conversation))

    async def _talk(self, conversation: Conversation) -> None:
        try:
            await conversation.run(self._look_whether_quiet)
        finally:
            self._clients.discard(conversation)
            self._look_whether_quiet()

    def _look_whether_quiet(self) -> None:
        if any(client.busy for client in self._clients):
            self._quiet.clear()
        else:
            self._quiet.set()


async def serve(path: Path, commands: Commands, *, namespace: ActiveNamespace, stall_s: float = STALL_S) -> Server:
    """Open the command socket at `path`; a client that reads nothing for `stall_s` seconds is dropped."""
    server = Server(path, commands, namespace, stall_s=stall_s)
    await server.open()
    return server


def _bind(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise InvalidInput(
            f'socket path "{path}" is {len(os.fsencode(path))} bytes long; at most {MAX_PATH_BYTES} are possible',
            hint="choose a shorter -base directory",
        )
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AlreadyExists(f'"{path}" exists and is no socket', hint="move it away, or choose another -base")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        bound.bind(str(path))
    except OSError as error:
        bound.close()
        raise Unavailable(f'cannot open the command socket "{path}"') from error
    finally:
        os.umask(mask)
    return bound
