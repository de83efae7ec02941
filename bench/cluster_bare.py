"""One bare Zenoh process: what the mesh is measured against. Driven over its standard streams by `cluster_mesh`.

    python -m bench.cluster_bare '{"address": ..., "name": ..., "config": ...}'

Lines in: `open` (the session, a token, a queryable), `see N` (answers once N tokens are there), `ask N` (a query to
all, answers once N replies came). Each is answered by one line.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import zenoh


def main() -> None:
    """Obey lines until there are no more."""
    settings = json.loads(sys.argv[1])
    node = _Node(settings["name"], settings["config"])
    print("ready", flush=True)
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        match word:
            case "open":
                node.open()
                print("opened", flush=True)
            case "see":
                print(node.see(int(number)), flush=True)
            case _:
                print(node.ask(int(number)), flush=True)


class _Node:
    def __init__(self, name: str, config: str) -> None:
        self._name = name
        self._config = zenoh.Config.from_json5(config)
        self._seen: set[str] = set()
        self._changed = threading.Condition()
        self._held: list[object] = []

    def open(self) -> None:
        self._session = session = zenoh.open(self._config)
        self._held = [
            session.declare_queryable(f"bare/node/{self._name}", zenoh.handlers.Callback(self._asked, indirect=False)),
            session.liveliness().declare_subscriber(
                "bare/alive/**", zenoh.handlers.Callback(self._token, indirect=False), history=True
            ),
            session.liveliness().declare_token(f"bare/alive/{self._name}"),
        ]

    def _token(self, sample: zenoh.Sample) -> None:
        with self._changed:
            self._seen.add(str(sample.key_expr))
            self._changed.notify_all()

    def _asked(self, query: zenoh.Query) -> None:
        with query:
            query.reply(f"bare/node/{self._name}", b"minimega 0.1.0 release")

    def see(self, wanted: int) -> float:
        """When there were so many tokens, by this machine's monotonic clock."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._seen) >= wanted, timeout=60)
            return time.monotonic() if len(self._seen) >= wanted else float("inf")

    def ask(self, wanted: int) -> float:
        """Seconds until all have answered."""
        started = time.monotonic()
        replies = self._session.get(
            "bare/node/*",
            target=zenoh.QueryTarget.ALL,
            consolidation=zenoh.ConsolidationMode.NONE,
            payload=b"version",
            timeout=30,
            allowed_destination=zenoh.Locality.REMOTE,
        )
        count = sum(reply.ok is not None for reply in replies)
        return time.monotonic() - started if count == wanted else float("inf")


if __name__ == "__main__":
    main()
