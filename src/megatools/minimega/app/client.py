"""The thin client: one command to a running daemon over its socket; called by `app/main.py` for `minimega -e`.

Standard library only, and only modules that load fast (a test looks): most of the time of `minimega -e` is Python
starting. `attach.py` and the generated binding speak through the same `Connection`.

Exit status: 0 when every host answered without an error, 1 when one had an error, 2 when there is no daemon to talk to.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator

from megatools.minimega.app.flags import Flags
from megatools.minimega.lang.quote import join_words

OK = 0
FAILED = 1
NO_DAEMON = 2
INTERRUPTED = 130
CONNECT_TIMEOUT_S = 10.0
SOCKET_NAME = "minimega"


class DaemonError(Exception):
    """There is no daemon to talk to, or it went away; the text is for the user."""


class Reply:
    """One reply of the daemon, checked: text to print, errors as (host, text), and whether more follow."""

    __slots__ = ("errors", "more", "rendered", "status", "suggest")

    def __init__(self, message: object) -> None:
        if not isinstance(message, dict):
            raise DaemonError("the daemon sent something that is no reply")
        self.rendered = str(message.get("Rendered") or "")
        self.more = message.get("More") is True
        self.status = message.get("Status") is True
        self.suggest = [str(word) for word in message.get("Suggest") or ()]
        self.errors = [
            (str(response.get("Host") or ""), str(response["Error"]))
            for response in message.get("Resp") or ()
            if isinstance(response, dict) and response.get("Error")
        ]


class Connection:
    """A conversation with the daemon listening on a socket; one request at a time. Close it, or use `with`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(CONNECT_TIMEOUT_S)
            self._socket.connect(path)
            self._socket.settimeout(None)
        except OSError as error:
            self._socket.close()
            raise DaemonError(_no_connection(path, error)) from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    def command(self, line: str) -> Iterator[Reply]:
        """Send a command line; yields every reply as it comes, the last one included."""
        return self._ask({"Command": line})

    def suggest(self, line: str) -> list[str]:
        """What may stand at the end of an unfinished line."""
        return [word for reply in self._ask({"Suggest": line}) for word in reply.suggest]

    def _ask(self, request: dict[str, str]) -> Iterator[Reply]:
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while line := self._lines.readline():
                reply = Reply(json.loads(line))
                yield reply
                if not reply.more and not reply.status:
                    return
        except (OSError, ValueError) as error:
            raise DaemonError(f'the conversation on "{self.path}" broke: {error}') from error
        raise DaemonError(f'the daemon on "{self.path}" went away before the answer was complete')


def _no_connection(path: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f'cannot connect to "{path}": permission denied\nhint: only the user who started the daemon may; use sudo'
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return (
            f'cannot connect to "{path}": no daemon is running there\n'
            "hint: start one with: minimega (another directory: -base DIR)"
        )
    return f'cannot connect to "{path}": {error}'


def socket_path(flags: Flags) -> str:
    """The daemon's socket: in the directory of flag `-base`, else of `MINIMEGA_BASE`, else the default."""
    base = flags.text("base") if "base" in flags.given else os.environ.get("MINIMEGA_BASE") or flags.text("base")
    return os.path.join(base, SOCKET_NAME)  # noqa: PTH118 pathlib would double the client's own time


def command_line(words: tuple[str, ...], namespace: str) -> str:
    """The words of `-e` as one line: a single word is a line already; others are quoted where they must be."""
    line = words[0] if len(words) == 1 else join_words(list(words))
    return f"{join_words(['namespace', namespace])} {line}" if namespace else line


def run(flags: Flags) -> int:
    """Run the command after `-e` on the daemon and print what it answers; returns the exit status."""
    if not any(word.strip() for word in flags.words):
        complain("no command given\nhint: minimega -e version")
        return NO_DAEMON
    try:
        with Connection(socket_path(flags)) as connection:
            return converse(connection, command_line(flags.words, flags.text("namespace")))
    except DaemonError as error:
        complain(str(error))
        return NO_DAEMON
    except BrokenPipeError:  # the reader of our output left, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return INTERRUPTED


def converse(connection: Connection, line: str) -> int:
    """Send one line and print its replies as they come; returns the exit status."""
    status = OK
    for reply in connection.command(line):
        if reply.status:
            write(sys.stderr.fileno(), reply.rendered)
            continue
        write(sys.stdout.fileno(), reply.rendered)
        for host, text in reply.errors:
            status = FAILED
            write(sys.stderr.fileno(), error_text(host, text))
    return status


def error_text(host: str, text: str) -> str:
    """An error of one host, as it is shown to a user."""
    return f"Error ({host}): {text}" if host else f"Error: {text}"


def complain(text: str) -> None:
    """Say on standard error what is wrong, in the program's name."""
    write(sys.stderr.fileno(), f"minimega: {text}")


def write(descriptor: int, text: str) -> None:
    """Write a text and exactly one newline to a descriptor; an empty text writes nothing."""
    rest = memoryview(f"{text}\n".encode(errors="replace") if text else b"")
    while rest:
        rest = rest[os.write(descriptor, rest) :]
