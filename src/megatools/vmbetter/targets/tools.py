"""Which programs of this host make an image: their versions are part of its key, and of its manifest.

Called by the targets.
"""

from __future__ import annotations

import functools

from megatools.hostkit import proc

_ASK = {"mke2fs": "-V", "debugfs": "-V", "mksquashfs": "-version", "xorriso": "-version"}


@functools.cache
def versions(*programs: str) -> list[str]:
    """The first line that each says about itself. Raises NotFound for one that is absent."""
    said: list[str] = []
    for name in programs:
        done = proc.run_sync([name, _ASK.get(name, "--version")], timeout_s=30, check=False)
        lines = (done.stdout + b"\n" + done.stderr).decode(errors="replace").split("\n")
        said.append(next((line.strip() for line in lines if line.strip()), name))
    return said
