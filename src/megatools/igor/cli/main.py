"""The igor program: in this version it says only that igor is not there yet (the issue "igor" builds it)."""

from __future__ import annotations

import sys

from megatools.hostkit.errors import Unavailable, user_text


def main() -> None:
    """Say truthfully that nothing can be reserved yet, and exit with the status of `Unavailable`."""
    error = Unavailable(
        "igor is not available in this version yet",
        hint="minimega is; nothing was reserved, changed or deleted",
    )
    print(f"igor: {user_text(error)}", file=sys.stderr)
    sys.exit(error.exit_code)
