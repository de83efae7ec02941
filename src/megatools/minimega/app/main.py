"""The program `minimega`: decides fast what it is this time (client, prompt, daemon, or a text to print).

The thin client is decided before anything heavy is imported.
"""

from __future__ import annotations

import os
import sys

from megatools.minimega.app import client
from megatools.minimega.app.flags import FlagError, Flags, ignored_text, parse, usage

USAGE_STATUS = 2


def main() -> int:
    """Run the program; returns its exit status."""
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output left, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return client.OK
    return status


def _run() -> int:
    try:
        flags = parse(sys.argv[1:])
    except FlagError as error:
        client.complain(f"{error}\nhint: minimega -help lists the flags")
        return USAGE_STATUS
    if ignored_text(flags):
        client.complain(ignored_text(flags))
    if flags.on("help") or flags.on("h"):
        print(usage())
        return 0
    if flags.on("e"):
        return client.run(flags)
    if flags.words[:1] == ("cluster",):
        from megatools.minimega.app import cluster_door

        return cluster_door.run(flags)
    return _heavier(flags)


def _heavier(flags: Flags) -> int:
    if flags.on("version"):
        from megatools.hostkit.revision import version_text

        print(version_text("minimega"))
        return 0
    if flags.on("attach"):
        from megatools.minimega.app import attach

        return attach.run(flags)
    if flags.on("cli") or flags.on("doc"):
        from megatools.minimega.app.manual import print_manual

        return print_manual(as_markdown=flags.on("doc"))
    from megatools.minimega.app import starting

    return starting.run(flags)


if __name__ == "__main__":
    sys.exit(main())
