"""The lock file `NAME.lock`: which packages, in which versions and with which content, an image is made of.

Written by the first build, used again, without the network, by all later ones until an update is asked for or the
config asks for other packages. Called by the packages stage and the builder. It is JSON, made to be kept beside a
config under version control; it names no archive, so that any mirror will do.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from megatools.hostkit.bootstrap.apt import Offer
from megatools.hostkit.errors import Corrupt, PermissionDenied
from megatools.hostkit.files import write_atomically
from megatools.vmbetter.cache import key_of

FORMAT = 2


class Lock(msgspec.Struct, frozen=True):
    """A resolved package list; `date` (seconds since 1970) is the time stamp of the image made of it."""

    suite: str
    architecture: str
    wanted: tuple[str, ...]
    local: tuple[str, ...]  # SHA-256 of the local packages there were to choose from
    date: int
    packages: tuple[Offer, ...]
    format: int = FORMAT

    def answers(self, suite: str, architecture: str, wanted: tuple[str, ...], local: tuple[str, ...]) -> bool:
        """Whether this is the answer to a request."""
        asked = (FORMAT, suite, architecture, wanted, local)
        return (self.format, self.suite, self.architecture, self.wanted, self.local) == asked

    def digest(self) -> str:
        """A hash of the packages' content and what was asked for."""
        return key_of(self.suite, self.architecture, self.wanted, [offer.sha256 for offer in self.packages])


def read(path: Path) -> Lock | None:
    """The lock in a file; None when there is none. Raises Corrupt, PermissionDenied."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lock)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise PermissionDenied(f'lock file "{path}" may not be read') from error
    except (msgspec.DecodeError, OSError) as error:
        raise Corrupt(f'lock file "{path}" is damaged', hint="build with --update to make a new one") from error


def encode(lock: Lock) -> bytes:
    """A lock as its file has it."""
    return msgspec.json.format(msgspec.json.encode(lock)) + b"\n"


def differs(path: Path, lock: Lock) -> bool:
    """Whether a lock file would have to be written."""
    return not path.is_file() or path.read_bytes() != encode(lock)


def write(path: Path, lock: Lock) -> None:
    """Write a lock file, unless it says the same already."""
    if differs(path, lock):
        write_atomically(path, encode(lock), 0o644)
