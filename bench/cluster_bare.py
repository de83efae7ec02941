"""What the mesh is measured against: the bare engine, with as many processes as we have.

    python -m bench.cluster_bare '{"name": ..., "config": ...}'

A node is two processes, as ours are (the engine must not take the daemon with it when it crashes): this one asks and
answers, and starts one with nothing but a Zenoh session, with which it exchanges lines over a socket pair. What a
daemon does beside (sign, check, parse, run, keep apart) nobody does here.

This one is driven over its standard streams by `cluster_mesh`. Lines in: `open` (the session, a token, a queryable),
`see N` (answers once N tokens are there), `ask N` (a query to all, answers once N replies came). Each is answered by
one line.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from typing import IO

ANSWER = "minimega 0.1.0 release"


def main() -> None:
    """Obey lines until there are no more."""
    if sys.argv[1] == "engine":
        with contextlib.suppress(ConnectionError):  # the other process was killed
            _Engine(socket.socket(fileno=int(sys.argv[2])), json.loads(sys.argv[3])).run()
        os._exit(0)  # without waiting for threads of the engine
    node = _Node(sys.argv[1])
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        match word:
            case "open":
                node.tell("open")
                node.opened.wait(60)
                print("opened", flush=True)
            case "see":
                print(node.see(int(number)), flush=True)
            case _:
                print(node.ask(int(number)), flush=True)


def _lines(channel: socket.socket) -> tuple[IO[str], IO[str]]:
    return channel.makefile("r"), channel.makefile("w")


class _Node:
    """The process that asks and answers."""

    def __init__(self, settings: str) -> None:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", "bench.cluster_bare", "engine", str(theirs.fileno()), settings]
        subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        theirs.close()
        self._heard, self._out = _lines(ours)
        self._seen: set[str] = set()
        self._replies = 0
        self._changed = threading.Condition()
        self.opened = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()

    def _listen(self) -> None:
        for line in self._heard:
            word, _, rest = line.rstrip("\n").partition(" ")
            match word:
                case "asked":
                    self.tell(f"answer {rest} {ANSWER}")
                case "ready":
                    print("ready", flush=True)
                case "opened":
                    self.opened.set()
                case _:
                    self._count(word, rest)

    def _count(self, word: str, rest: str) -> None:
        with self._changed:
            if word == "token":
                self._seen.add(rest)
            elif rest == ANSWER:
                self._replies += 1
            self._changed.notify_all()

    def see(self, wanted: int) -> float:
        """When there were so many tokens, by this machine's monotonic clock."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seen) >= wanted, timeout=60)
            return time.monotonic() if len(self._seen) >= wanted else float("inf")

    def ask(self, wanted: int) -> float:
        """Seconds until all have answered."""
        with self._changed:
            self._replies = 0
            started = time.monotonic()
            self.tell("ask")
            self._changed.wait_for(lambda: self._replies >= wanted, timeout=30)
            return time.monotonic() - started if self._replies == wanted else float("inf")


class _Engine:
    """The process with the session."""

    def __init__(self, channel: socket.socket, settings: dict[str, str]) -> None:
        import zenoh

        self._zenoh = zenoh
        self._name = settings["name"]
        self._config = zenoh.Config.from_json5(settings["config"])
        self._heard, self._out = _lines(channel)
        self._lock = threading.Lock()
        self._queries: dict[str, zenoh.Query] = {}
        self._held: list[object] = []

    def run(self) -> None:
        """Obey lines until the other process is gone."""
        self._say("ready")
        for line in self._heard:
            word, _, rest = line.rstrip("\n").partition(" ")
            match word:
                case "open":
                    self._open()
                case "ask":
                    self._ask()
                case _:
                    number, _, text = rest.partition(" ")
                    with self._queries.pop(number) as query:
                        query.reply(f"bare/node/{self._name}", text)

    def _say(self, line: str) -> None:
        with self._lock:
            self._out.write(line + "\n")
            self._out.flush()

    def _open(self) -> None:
        direct = self._zenoh.handlers.Callback
        self._session = session = self._zenoh.open(self._config)
        self._held = [
            session.declare_queryable(f"bare/node/{self._name}", direct(self._asked, indirect=False)),
            session.liveliness().declare_subscriber("bare/alive/**", direct(self._token, indirect=False), history=True),
            session.liveliness().declare_token(f"bare/alive/{self._name}"),
        ]
        self._say("opened")

    def _token(self, sample: object) -> None:
        self._say(f"token {sample.key_expr}")  # type: ignore[attr-defined]

    def _asked(self, query: object) -> None:
        number = str(id(query))
        self._queries[number] = query  # type: ignore[assignment]
        self._say(f"asked {number}")

    def _ask(self) -> None:
        zenoh = self._zenoh

        def replied(reply: object) -> None:
            sample = reply.ok  # type: ignore[attr-defined]
            if sample is not None:
                self._say(f"reply {sample.payload.to_string()}")

        self._session.get(
            "bare/node/*",
            zenoh.handlers.Callback(replied, indirect=False),
            target=zenoh.QueryTarget.ALL,
            consolidation=zenoh.ConsolidationMode.NONE,
            payload=b"version",
            timeout=30,
            allowed_destination=zenoh.Locality.REMOTE,
        )


if __name__ == "__main__":
    main()
