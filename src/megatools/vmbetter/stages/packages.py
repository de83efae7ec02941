"""First stage: a Debian tree with the packages asked for, as `tree.tar.zst`.

Called by the builder. The key holds what decides the result on our side (recipe, suite, sources, tool versions);
the versions the archive offers are fixed by the entry itself, which is used again until an update is asked for.
"""

from __future__ import annotations

from pathlib import Path

from megatools.hostkit.bootstrap import mmdebstrap
from megatools.hostkit.bootstrap.sources import host_sources, host_suite
from megatools.vmbetter.cache import key_of

FORMAT = 2


def request(packages: tuple[str, ...], *, branch: str, mirror: str, epoch: int) -> mmdebstrap.Request:
    """What to ask for: empty `branch` and `mirror` stand for this host's release and its configured sources."""
    suite = branch or host_suite()
    archives = () if mirror else tuple(host_sources(suite))
    return mmdebstrap.Request(suite, tuple(sorted(packages)), archives, mirror, epoch=epoch)


def key(wanted: mmdebstrap.Request, engine: str) -> str:
    """The key of this stage; `engine` is the program's version."""
    return key_of("packages", FORMAT, wanted, mmdebstrap.EXCLUDED, engine)


def make(wanted: mmdebstrap.Request, workspace: Path) -> tuple[Path, str]:
    """The tree's tar, in the workspace, and the log. Raises as `mmdebstrap.bootstrap` does."""
    target = workspace / "tree.tar.zst"
    log = mmdebstrap.bootstrap(wanted, target, workspace=workspace)
    return target, log
