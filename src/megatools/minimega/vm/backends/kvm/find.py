"""Find a QEMU that an earlier daemon started but had no time to write down. Used by `backend` when it adopts."""

from __future__ import annotations

import itertools
from pathlib import Path

from megatools.hostkit.errors import NotFound
from megatools.hostkit.proc import Identity, identity_of


def launched_as(cmdline: bytes) -> tuple[str, str] | None:
    """The values of `-uuid` and `-pidfile` in a command line as /proc shows it; None without both. Pure."""
    words = [word.decode(errors="replace") for word in cmdline.split(b"\0")]
    values = dict(itertools.pairwise(words))
    uuid, pidfile = values.get("-uuid"), values.get("-pidfile")
    return None if uuid is None or pidfile is None else (uuid, pidfile)


def running_qemus() -> dict[tuple[str, str], Identity]:
    """Every process that was started with `-uuid` and `-pidfile`, by these two values."""
    found: dict[tuple[str, str], Identity] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            key = launched_as((entry / "cmdline").read_bytes())
            if key is not None:
                found[key] = identity_of(int(entry.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError, NotFound):
            continue  # it ended while we looked
    return found
