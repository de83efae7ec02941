"""What a user's whole day needs: a daemon in a namespace of its own, and a guest image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.images import tiny_image
from tests.support.lab import Lab, daemon_in_lab


@pytest.fixture
def lab_daemon() -> Iterator[tuple[Daemon, Lab]]:
    """A daemon, not started, and its namespace."""
    with daemon_in_lab() as pair:
        yield pair


@pytest.fixture
def daemon(lab_daemon: tuple[Daemon, Lab]) -> Daemon:
    """A daemon that runs."""
    found, _ = lab_daemon
    found.start()
    return found


@pytest.fixture
def lab(lab_daemon: tuple[Daemon, Lab]) -> Lab:
    """The namespace of the test's daemon."""
    return lab_daemon[1]


@pytest.fixture(scope="session")
def image() -> tuple[Path, Path]:
    """The tiny guest: kernel and initrd."""
    return tiny_image()
