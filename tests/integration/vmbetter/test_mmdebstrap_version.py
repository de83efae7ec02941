"""Which mmdebstrap there is: read from the program, it is what the program says."""

import subprocess

import pytest

from megatools.hostkit.bootstrap import mmdebstrap
from tests.support.requires import requires

pytestmark = requires("mmdebstrap")


def _said() -> str:
    return subprocess.run(["mmdebstrap", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def test_it_is_read_as_it_would_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said = _said()
    started: list[object] = []
    monkeypatch.setattr(mmdebstrap.proc, "run_sync", lambda argv, **_: started.append(argv))
    assert mmdebstrap.version() == said
    assert started == []


def test_one_that_does_not_say_it_there_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmdebstrap, "_HEAD", 10)
    assert mmdebstrap.version() == _said()
