"""`python -m tests.support.console URL BASE [NAME=ID...]`: prove consoles from inside a network namespace.

Types a fresh word into each VM's console and finds it on the screen and in the guest; prints a line per VM.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from megatools.minimega.app.demo_proof import prove_console


async def prove(url: str, base: Path, vms: list[str]) -> None:
    """One VM after another; the first that fails ends it."""
    for vm in vms:
        name, _, number = vm.partition("=")
        word = await prove_console(url, name, base / number / "cc")
        print(f"{name}: {word}", flush=True)


if __name__ == "__main__":
    asyncio.run(prove(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
