"""What names and texts of users may look like, before they become file names or boot files; any part may use it."""

from __future__ import annotations

import re

from megatools.hostkit.errors import InvalidInput

MAX_NAME = 64
MAX_ARGS = 2048
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


def checked_name(name: str, what: str = "reservation") -> str:
    """The name, when it may name a thing of this kind; raises InvalidInput."""
    if not name:
        raise InvalidInput(f"a {what} needs a name", hint="letters, digits, '_', '.' and '-'")
    if not _NAME.fullmatch(name):
        shown = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."
        raise InvalidInput(
            f'"{shown}" cannot name a {what}',
            hint=f"at most {MAX_NAME} letters, digits, '_', '.' and '-', starting with a letter, a digit or '_'",
        )
    return name


def checked_args(args: str) -> str:
    """Kernel arguments, when they fit one line of a boot file; raises InvalidInput.

    A line break would smuggle directives into the boot loader's configuration.
    """
    if any(not character.isprintable() for character in args):
        raise InvalidInput("kernel arguments must be one line of printable characters")
    if len(args.encode()) > MAX_ARGS:
        raise InvalidInput(f"kernel arguments are {len(args.encode())} bytes long, the limit is {MAX_ARGS}")
    return args.strip()
