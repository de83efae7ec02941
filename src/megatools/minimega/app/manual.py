"""The language as text for programs and people: `minimega -cli` and `minimega -doc`."""

from __future__ import annotations

import sys

from megatools.minimega.app.language import registry
from megatools.minimega.lang.api import manual


def print_manual(*, as_markdown: bool) -> int:
    """Print the commands as JSON (spec B.1), or as markdown."""
    commands = registry()
    chapters = [(family.title, family.commands) for family in commands.families()]
    text = manual(chapters).encode() if as_markdown else commands.api()
    sys.stdout.buffer.write(text.rstrip() + b"\n")
    return 0
