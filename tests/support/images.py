"""Guest images for tests that boot something: `kernel, initrd = tiny_image()`.

Built with our own vmbetter as a program, kept in its standard cache: a minute the first time, half a second after.
The image logs in root on ttyS0 and on the screen, prints "megatools: ready" and, for each lease it gets,
"megatools: lease ADDRESS on ethN", and answers the guest agent on org.qemu.guest_agent.0.
"""

import functools
import os
import sys
from pathlib import Path

from megatools.hostkit import proc

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD_TIMEOUT_S = 900.0


def vmbetter(
    *arguments: str, directory: Path, timeout_s: float = BUILD_TIMEOUT_S, check: bool = True
) -> proc.Completed:
    """Run this tree's vmbetter in a directory."""
    argv = [sys.executable, "-m", "megatools.vmbetter.cli", *arguments]
    return proc.run_sync(
        argv, timeout_s=timeout_s, check=check, cwd=directory, env={"PYTHONPATH": str(REPOSITORY / "src")}
    )


@functools.cache
def tiny_image() -> tuple[Path, Path]:
    """Kernel and initrd of misc/vmbetter_configs/tiny.conf; 256 MB of memory are plenty for it."""
    directory = Path(f"/tmp/megatools-test-images-{os.geteuid()}")
    directory.mkdir(mode=0o755, exist_ok=True)
    vmbetter(str(REPOSITORY / "misc/vmbetter_configs/tiny.conf"), directory=directory)
    return directory / "tiny.kernel", directory / "tiny.initrd"
