"""Which revision of the sources this is: read from the checkout's own files; a tarball has none."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import megatools

_TREE = Path(__file__).resolve().parents[3]
NOTE = "REVISION"  # the file in which a copy of the project, which is no checkout, keeps what it is a copy of


def revision() -> str:
    """The first 12 digits of the commit checked out, or of the one this copy was made from; else `release`."""
    try:
        return _checked_out(_TREE / ".git")
    except OSError:
        pass  # an unpacked tarball or an installed package has no checkout, and that is fine
    try:
        return (_TREE / NOTE).read_text().strip()
    except OSError:
        return "release"


def _checked_out(git: Path) -> str:
    """The commit of a repository's folder, or of the file that stands in for it in a further worktree."""
    common = git
    if git.is_file():
        git = _TREE / git.read_text().strip().removeprefix("gitdir: ")
        common = git / (git / "commondir").read_text().strip()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head[:12]
    reference = head.removeprefix("ref: ")
    loose = common / reference
    if loose.is_file():
        return loose.read_text().strip()[:12]
    for line in (common / "packed-refs").read_text().splitlines():
        commit, _, name = line.partition(" ")
        if name == reference:
            return commit[:12]
    return "release"


@functools.cache
def version_text(program: str) -> str:
    """`PROGRAM VERSION REVISION DATE`; the date is that of this installation. Read once: a daemon stays what it was."""
    stamp = Path(megatools.__file__).stat().st_mtime
    return f"{program} {megatools.__version__} {revision()} {time.strftime('%Y-%m-%d', time.gmtime(stamp))}"
