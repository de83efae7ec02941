"""An ordinary user who builds images: real, with subordinate ids, a home, and no network.

with ordinary_user() as user:
    user.lend(lock)                                   # the packages of a lock, so that none must be fetched
    user.vmbetter("--disk", "x.conf", directory=user.home / "one")
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from megatools.hostkit import proc
from megatools.vmbetter import lock as locks
from megatools.vmbetter.cache import Cache, default_root
from tests.support.images import BUILD_TIMEOUT_S, REPOSITORY


@dataclass(frozen=True)
class User:
    """A user of this machine; the cache is in the home."""

    name: str
    home: Path

    def lend(self, lock: Path) -> None:
        """Give the user's cache the packages of a lock file, from this process's."""
        known = locks.read(lock)
        assert known is not None
        cache = Cache(self.home / ".cache/megatools/vmbetter")
        (cache.root / "debs").mkdir(parents=True, exist_ok=True)
        for offer in known.packages:
            source = Cache(default_root()).package(offer.sha256)
            shutil.copyfile(source, cache.package(offer.sha256))
        subprocess.run(["chown", "-R", f"{self.name}:", str(self.home)], check=True)

    def vmbetter(self, *arguments: str, directory: Path, timeout_s: float = BUILD_TIMEOUT_S) -> proc.Completed:
        """Run this tree's vmbetter as the user, without a network, in a directory of the home (made if need be)."""
        directory.mkdir(parents=True, exist_ok=True)
        shutil.chown(directory, self.name, self.name)
        become = ["unshare", "--net", "setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--clear-groups"]
        settings = {"HOME": str(self.home), "PYTHONPATH": str(REPOSITORY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        program = [sys.executable, "-m", "megatools.vmbetter.cli"]
        return proc.run_sync([*become, *program, *arguments], timeout_s=timeout_s, cwd=directory, env=settings)


@contextlib.contextmanager
def ordinary_user() -> Iterator[User]:
    """A user for one test; the home is gone afterwards, whatever is in it."""
    name = f"mtest{os.getpid()}"
    home = Path("/tmp") / name
    subprocess.run(["useradd", "--create-home", "--home-dir", str(home), name], check=True)
    try:
        yield User(name, home)
    finally:
        subprocess.run(["userdel", name], check=True)
        subprocess.run(["rm", "-rf", "--one-file-system", str(home)], check=True)
