"""The program behind `scripts/demo`: which demo, and how its errors are shown."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from megatools.hostkit.errors import InvalidInput, MegaError, user_text
from megatools.minimega.app import demo, demo_cluster
from megatools.minimega.app.client import DaemonError


def _run_cluster(count: int, *, once: bool) -> None:
    if not 2 <= count <= demo_cluster.MOST_HOSTS:
        raise InvalidInput(f"a cluster of {count} hosts", hint=f"2 to {demo_cluster.MOST_HOSTS}")
    demo_cluster.run(count, once=once)


def _end(_number: int, _frame: object) -> None:
    sys.exit(128 + signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """The program behind `scripts/demo`."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description="The document's first example, for real.")
    parser.add_argument("--cluster", type=int, metavar="N", help="N hosts on this machine, as a cluster")
    parser.add_argument("--once", action="store_true", help="verify everything, tear down and exit 0")
    asked = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    try:
        if asked.cluster is None:
            demo.run(once=asked.once)
        else:
            _run_cluster(asked.cluster, once=asked.once)
    except (MegaError, DaemonError) as error:
        print(f"demo: {user_text(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
