"""Drive minimega from Python: `connect()` gives an object with one method per command.

Made from the commands' own description (`minimega -cli`); standard library only, Python 3.9 or newer.

    mm = connect(namespace="lab")
    mm.vm_config_memory(512)
    mm.vm_launch_kvm(2)
    with mm.namespace("other"):
        print_rows(mm.vm_info())

A method returns the command's response groups: a list of lists of dicts with the keys Host, Response, Header, Tabular,
Error and Data. With `raise_errors` (the default) an error of any host raises `Error`.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from collections.abc import Generator, Iterator
from typing import Any

Json = dict[str, Any]
Group = list[Json]
DEFAULT_PATH = "/tmp/minimega/minimega"
DEFAULT_TIMEOUT_S = 60
_PLAIN = re.compile(r"[^\s\"'\\#]+")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


class Error(Exception):
    """A command failed on some host, or the conversation with the daemon broke."""


def quote(word: object) -> str:
    """A word as it must stand in a command line."""
    text = str(word).lower() if isinstance(word, bool) else str(word)
    if _PLAIN.fullmatch(text):
        return text
    return '"' + re.sub(r"[\n\r\t\\\"]", lambda found: _ESCAPES[found.group()], text) + '"'


def connect(
    path: str = DEFAULT_PATH,
    raise_errors: bool = True,
    debug: bool = False,
    namespace: str = "",
    timeout: float | None = DEFAULT_TIMEOUT_S,
) -> minimega:
    """Connect to the daemon whose command socket is at `path`; `timeout` in seconds, None waits for ever."""
    return minimega(path, raise_errors, debug, namespace, timeout)


def rows(groups: list[Group]) -> Iterator[dict[str, str]]:
    """The rows of all tables in an answer, as dicts by column name, each with its `host`."""
    for group in groups:
        for response in group:
            for row in response["Tabular"] or ():
                yield {"host": response["Host"], **dict(zip(response["Header"], row))}  # noqa: B905 3.9 has no strict


def print_rows(groups: list[Group]) -> None:
    """Print the tables of an answer, columns aligned."""
    table = list(rows(groups))
    if not table:
        return
    header = list(table[0])
    lines = [header, *([str(row.get(name, "")) for name in header] for row in table)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    for line in lines:
        print(" | ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)).rstrip())  # noqa: B905


class minimega:  # noqa: N801 the name scripts use
    """A connection to a daemon; `connect` makes one."""

    def __init__(self, path: str, raise_errors: bool, debug: bool, namespace: str, timeout: float | None) -> None:
        self._raise_errors = raise_errors
        self._debug = debug
        self._namespace = namespace
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise Error(f'cannot connect to "{path}": {error}') from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> minimega:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()

    @contextlib.contextmanager
    def namespace(self, name: str) -> Generator[minimega, None, None]:
        """Run the commands of a `with` block in a namespace."""
        before, self._namespace = self._namespace, name
        try:
            yield self
        finally:
            self._namespace = before

    def command(self, line: str) -> list[Group]:
        """Run a command line; returns its response groups."""
        return list(self.stream(line))

    def stream(self, line: str) -> Iterator[Group]:
        """Run a command line and yield its response groups as they come; take them all before the next command."""
        if self._namespace:
            line = f"namespace {quote(self._namespace)} {line}"
        errors: list[str] = []
        for reply in self._ask({"Command": line}):
            group = reply["Resp"] or []
            errors += [f"{response['Host']}: {response['Error']}" for response in group if response["Error"]]
            if group:
                yield group
        if errors and self._raise_errors:
            raise Error("\n".join(errors))

    def suggest(self, line: str) -> list[str]:
        """How an unfinished line may go on."""
        return [word for reply in self._ask({"Suggest": line}) for word in reply.get("Suggest", ())]

    def _ask(self, request: dict[str, str]) -> Iterator[Json]:
        if self._debug:
            print(f"minimega: {request}", file=sys.stderr)
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            for line in self._lines:
                reply: Json = json.loads(line)
                if reply["Status"]:
                    continue
                yield reply
                if not reply["More"]:
                    return
        except (OSError, ValueError) as error:
            self.close()
            raise Error(f"the conversation with the daemon broke: {error}") from error
        raise Error("the daemon went away before the answer was complete")

    def _call(self, words: tuple[str, ...], more: tuple[object, ...]) -> list[Group]:
        flat: list[object] = list(words)
        for word in more:
            flat.extend(word if isinstance(word, (list, tuple)) else (word,))
        return self.command(" ".join(quote(word) for word in flat if word is not None))
