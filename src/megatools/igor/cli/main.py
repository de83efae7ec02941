"""The program `igor`."""

from __future__ import annotations

import sys

from megatools.igor.cli import reach


def main() -> int:
    """Run the program; returns its exit status."""
    from megatools.igor.cli.program import run

    warning = reach.setuid_warning(sys.argv[0])
    if warning:
        reach.warn(warning)
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
