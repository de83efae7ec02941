"""`minimega -attach`: a prompt on a running daemon; called by `app/main.py`.

Without a terminal, lines come from standard input and the exit status is that of `-e`: not zero as soon as one failed.
"""

from __future__ import annotations

import sys

from megatools.minimega.app.client import (
    INTERRUPTED,
    NO_DAEMON,
    OK,
    Connection,
    DaemonError,
    complain,
    converse,
    error_text,
    socket_path,
)
from megatools.minimega.app.flags import Flags
from megatools.minimega.lang.quote import join_words

_LEAVE = "disconnect"
_END = ("quit", "exit")
_CONFIRM = "this ends the daemon and all its VMs: type it again to confirm, or `disconnect` to leave only"


def run(flags: Flags) -> int:
    """Attach until the user leaves; returns the exit status."""
    path = socket_path(flags)
    try:
        with Connection(path) as connection:
            if sys.stdin.isatty() and sys.stdout.isatty():
                return _Attached(path, flags.text("namespace"), connection).run()
            return _lines(connection, flags.text("namespace"))
    except DaemonError as error:
        complain(str(error))
        return NO_DAEMON
    except KeyboardInterrupt:
        return INTERRUPTED


def within(namespace: str, line: str) -> str:
    """The line, run in a namespace when one was given."""
    return f"{join_words(['namespace', namespace])} {line}" if namespace else line


def prompt_text(path: str, namespace: str, mark: str = "") -> str:
    """What the prompt says: the socket, the namespace when one was given, and a mark that reminds of something."""
    return f"minimega:{path}{f'[{namespace}]' if namespace else ''}{f' {mark}' if mark else ''}$ "


def _lines(connection: Connection, namespace: str) -> int:
    status = OK
    for line in sys.stdin:
        text = line.strip()
        if text == _LEAVE:
            break
        if text and not text.startswith("#"):
            status = max(status, converse(connection, within(namespace, text)))
            if text in _END and status == OK:
                break
    return status


class _Attached:
    """The prompt on a terminal."""

    def __init__(self, path: str, namespace: str, connection: Connection) -> None:
        from megatools.minimega.app.terminal import LinePrompt

        self._path = path
        self._namespace = namespace
        self._connection = connection
        self._asked_to_end = False
        self._mark = self._mark_of_mesh()
        self._prompt = LinePrompt(self._suggest)

    def run(self) -> int:
        while True:
            try:
                lines = self._prompt.ask_now(prompt_text(self._path, self._namespace, self._mark))
            except EOFError:
                return OK
            for line in lines:
                if not self._obey(line.strip()):
                    return OK

    def _mark_of_mesh(self) -> str:
        """What the prompt reminds of when anyone on the network can command the host; said at length once."""
        from megatools.minimega.cluster.control import OPEN, OPEN_MARK, OPEN_WARNING

        line = ".headers false .annotate false .columns security mesh status"
        found = [reply.rendered for reply in self._connection.command(line) if not reply.status]
        if found != [OPEN]:
            return ""
        print(f"the mesh is open: {OPEN_WARNING}", file=sys.stderr)
        return OPEN_MARK

    def _obey(self, line: str) -> bool:
        """Run one line; False when the user has left."""
        if line == _LEAVE:
            return False
        ends = line.partition(" ")[0] in _END
        if ends and not self._asked_to_end:
            self._asked_to_end = True
            print(_CONFIRM)
            return True
        self._asked_to_end = False
        if line and not line.startswith("#"):
            self._run(line)
        return not ends or len(line.split()) > 1  # `quit 10` ends the daemon later

    def _run(self, line: str) -> None:
        from megatools.minimega.app.terminal import show_now

        try:
            for reply in self._connection.command(within(self._namespace, line)):
                if reply.rendered:
                    show_now(reply.rendered)
                for host, text in reply.errors:
                    print(error_text(host, text), file=sys.stderr)
        except KeyboardInterrupt:
            print("interrupted; the daemon finishes the command")
            self._connection.close()
            self._connection = Connection(self._path)

    async def _suggest(self, line: str) -> list[str]:
        prefix = within(self._namespace, "")
        return self._connection.suggest(prefix + line)
