"""Unit tests are pure: starting a process is an error here (R11; real programs belong to tests/integration)."""

import os
import subprocess
from typing import NoReturn

import pytest

from megatools.hostkit import proc


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_named: object) -> NoReturn:
        pytest.fail("a unit test must not start a process")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(proc, "posix_spawn", refuse)
    for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen"):
        monkeypatch.setattr(os, name, refuse)
