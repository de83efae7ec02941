"""A toy archive and builds from it: whole builds through the real apt, mmdebstrap and dpkg in seconds."""

import contextlib
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from megatools.hostkit import proc
from tests.support import netns
from tests.support.archive import Archive, Deb, toy_system
from tests.support.images import REPOSITORY

HELLO = Deb("hello", files={"usr/share/hello/text": "hello of 1.0\n"})
CONFIG = 'packages = "hello linux-image-toy"\n'


@dataclass
class Workshop:
    """A toy archive with a suite "toy", a cache and a directory of one test."""

    archive: Archive
    cache: Path
    directory: Path

    def config(self, text: str = CONFIG, name: str = "x.conf") -> Path:
        """Write a config."""
        (self.directory / name).write_text(text)
        return self.directory / name

    def words(self, *words: str, url: str = "") -> list[str]:
        """The command line of a build from the archive."""
        where = ["--branch", "toy", "--mirror", url or self.archive.url, "--keyring", str(self.archive.keyring)]
        return [sys.executable, "-m", "megatools.vmbetter.cli", "--cache", str(self.cache), *where, *words]

    @property
    def environment(self) -> dict[str, str]:
        """What `words` need around them."""
        return {"PYTHONPATH": str(REPOSITORY / "src")}

    def build(
        self, *words: str, check: bool = True, url: str = "", before: tuple[str, ...] = (), env: Mapping[str, str] = {}
    ) -> proc.Completed:
        """Build from the archive; later words win."""
        return proc.run_sync(
            [*before, *self.words(*words, url=url)], timeout_s=300, check=check, cwd=self.directory,
            env={**self.environment, **env},
        )  # fmt: skip

    def run(self, *words: str, check: bool = True) -> proc.Completed:
        """Run vmbetter with just these words."""
        argv = [sys.executable, "-m", "megatools.vmbetter.cli", *words]
        return proc.run_sync(argv, timeout_s=120, check=check, cwd=self.directory, env=self.environment)

    def file(self, path: str, tar: str = "x.tar") -> str:
        """The content of a file in a tar that was built."""
        words = ["tar", "-xOf", str(self.directory / tar), f"./{path}"]
        return subprocess.run(words, check=True, capture_output=True).stdout.decode()

    def link(self, path: str, tar: str = "x.tar") -> str:
        """Where a link in a tar that was built leads to."""
        with tarfile.open(self.directory / tar) as archive:
            return archive.getmember(f"./{path}").linkname


@contextlib.contextmanager
def _in_memory() -> Iterator[Path]:
    """A directory in memory: what is synced to disk here is worth nothing tomorrow."""
    with netns.base_directory() as base:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=711,size=2g", "tmpfs", str(base)], check=True)
        try:
            yield base
        finally:
            subprocess.run(["umount", "--lazy", str(base)], check=True)


@pytest.fixture(scope="session")
def warm() -> Iterator[tuple[Archive, Path]]:
    """A toy archive, and a cache that holds a build of CONFIG from it; to be copied."""
    with _in_memory() as base:
        archive = Archive(base / "archive")
        archive.publish([*toy_system(), HELLO], "toy")
        (base / "work").mkdir()
        workshop = Workshop(archive, base / "cache", base / "work")
        workshop.config(CONFIG + "postbuild = `true`")
        workshop.build("x.conf")
        yield archive, workshop.cache


@pytest.fixture
def workshop(warm: tuple[Archive, Path]) -> Iterator[Workshop]:
    """The toy archive (its suite "toy" is to be left as it is) with a warm cache of one's own."""
    archive, cache = warm
    with _in_memory() as base:
        subprocess.run(["cp", "-a", str(cache), str(base)], check=True)
        (base / "work").mkdir()
        yield Workshop(archive, base / "cache", base / "work")
