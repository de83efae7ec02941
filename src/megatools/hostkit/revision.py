"""Which revision of the sources this is: read from the checkout's own files; a tarball has none."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import megatools

_TREE = Path(__file__).resolve().parents[3]


def revision() -> str:
    """The first 12 digits of the commit checked out; `release` where there is no checkout."""
    git = _TREE / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head[:12]
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text().strip()[:12]
        for line in (git / "packed-refs").read_text().splitlines():
            commit, _, name = line.partition(" ")
            if name == reference:
                return commit[:12]
    except OSError:
        pass  # an unpacked tarball or an installed package: there is nothing to read, and that is fine
    return "release"


@functools.cache
def version_text(program: str) -> str:
    """`PROGRAM VERSION REVISION DATE`; the date is that of this installation. Read once: a daemon stays what it was."""
    stamp = Path(megatools.__file__).stat().st_mtime
    return f"{program} {megatools.__version__} {revision()} {time.strftime('%Y-%m-%d', time.gmtime(stamp))}"
