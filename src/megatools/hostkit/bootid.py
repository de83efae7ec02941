"""Which boot of this machine it is; for programs that look at it without starting any process (`proc` has it too)."""

from __future__ import annotations

from pathlib import Path


def boot_id() -> str:
    """The kernel's random id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
